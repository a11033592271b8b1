#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use super::*;

#[test]
fn what_is_stored_is_found_by_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let place = || State::open(dir.path()).unwrap().child("job").child("t/1");
    assert_eq!(place().load::<Vec<u8>>("seen").unwrap(), None);
    assert_eq!(place().load_all::<Vec<u8>>().unwrap(), [[0; 0]; 0]);
    place().store("seen", &[1, 2]).unwrap();
    place().store("more", &[3]).unwrap();
    place().store("seen", &[4]).unwrap();
    assert_eq!(place().load::<Vec<u8>>("seen").unwrap(), Some(vec![4]));
    assert_eq!(place().load_all::<Vec<u8>>().unwrap(), [[3], [4]]);
    assert_eq!(place().child("seen").load::<Vec<u8>>("seen").unwrap(), None);
    place().remove("seen").unwrap();
    place().remove("seen").unwrap();
    assert_eq!(place().load_all::<Vec<u8>>().unwrap(), [[3]]);
}

#[test]
fn a_place_is_cleared_with_all_that_is_below_it_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = State::open(dir.path()).unwrap();
    let (job, other) = (root.child("job"), root.child("job2"));
    job.clear().unwrap();
    job.child("t").child("0").store("seen", &1).unwrap();
    other.store("seen", &2).unwrap();
    job.clear().unwrap();
    let below = job.child("t").child("0");
    assert_eq!(below.load::<u8>("seen").unwrap(), None);
    assert_eq!(other.load::<u8>("seen").unwrap(), Some(2));
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    below.store("seen", &3).unwrap();
    assert_eq!(below.load::<u8>("seen").unwrap(), Some(3));
}

#[test]
fn without_a_folder_nothing_is_kept() {
    let state = State::default().child("job");
    state.store("seen", &1).unwrap();
    assert!(!state.is_kept());
    assert_eq!(state.load::<u8>("seen").unwrap(), None);
    state.remove("seen").unwrap();
    state.clear().unwrap();
}

#[test]
fn names_stay_in_their_folder_and_apart() {
    let long = "x".repeat(300);
    let longer = "x".repeat(301);
    let names = ["a", "A", "a/b", "a%2Fb", "..", ".", "ä", "", &long, &longer];
    let escaped: BTreeSet<_> = names.iter().map(|name| escape(name)).collect();
    assert_eq!(escaped.len(), names.len(), "{escaped:?}");
    for name in &escaped {
        assert!(name.len() <= NAME_MAX && !name.contains('/') && !name.starts_with('.'));
    }
}

#[test]
fn a_file_that_is_cut_off_is_told_with_its_name_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path()).unwrap();
    std::fs::write(dir.path().join("seen.json"), "[1,").unwrap();
    let error = state.load::<Vec<u8>>("seen").unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().ends_with("seen.json'"), "{error}");
    assert!(cause.contains("remove the file to begin anew"), "{cause}");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = State::open(file.path().join("below")).unwrap_err();
    assert!(error.to_string().starts_with("state folder: cannot make '"));
}
