//! What births have told outlives the decoder.

use std::collections::BTreeMap;

use headwater_format::{Decoder, Learnt};
use serde_json::{Value, json};

use crate::{decoder, device_birth, node_birth, push};

/// What a decoder has learnt, added to what is known.
fn learn(decoder: &mut Decoder, known: &mut BTreeMap<String, Value>) -> Vec<String> {
    let learnt = decoder.learnt();
    let names = learnt.iter().map(|learnt| learnt.name.clone()).collect();
    for Learnt { name, value } in learnt {
        match value {
            Some(value) => drop(known.insert(name, value)),
            None => drop(known.remove(&name)),
        }
    }
    names
}

#[test]
fn births_outlive_the_decoder() {
    let mut known = BTreeMap::new();
    let mut first = decoder();
    push(&mut first, "spBv1.0/g/NBIRTH/n", &node_birth());
    push(&mut first, "spBv1.0/g/DBIRTH/n/d/e", &device_birth());
    push(&mut first, "spBv1.0/g/DBIRTH/n/gone", &device_birth());
    push(&mut first, "spBv1.0/g/DDEATH/n/gone", &json!({}));
    assert_eq!(
        learn(&mut first, &mut known),
        ["g/n", "g/n/d/e", "g/n/gone"]
    );
    assert_eq!(known.len(), 2);
    // Nothing new is nothing to be written.
    push(&mut first, "spBv1.0/g/DBIRTH/n/d/e", &device_birth());
    push(
        &mut first,
        "spBv1.0/g/DDATA/n/d/e",
        &json!({"metrics": [{"alias": 2, "floatValue": 1}]}),
    );
    assert!(first.learnt().is_empty());

    let mut second = decoder();
    second.remember(known.values().cloned().collect()).unwrap();
    assert!(second.learnt().is_empty());
    let data =
        json!({"metrics": [{"alias": 2, "floatValue": 22.0}, {"alias": 1, "doubleValue": 1.0}]});
    assert_eq!(
        push(&mut second, "spBv1.0/g/DDATA/n/d/e", &data),
        ["d/e t 2 Float GOOD 22", "d/e load 1 Double GOOD 1"]
    );
    let death = |n| json!({"metrics": [{"name": "bdSeq", "datatype": 8, "longValue": n}]});
    assert_eq!(push(&mut second, "spBv1.0/g/NDEATH/n", &death(2)).len(), 1);
    assert_eq!(push(&mut second, "spBv1.0/g/NDEATH/n", &death(3)).len(), 4);
    assert_eq!(learn(&mut second, &mut known), ["g/n", "g/n/d/e"]);
    assert!(known.is_empty());

    let error = decoder().remember(vec![json!({"group": 1})]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("what an earlier run has learnt"),
        "{error}"
    );
}
