//! How two filters stand to each other: whether a message can match both, and whether one says all that the other says.
//!
//! A broker may deliver a message once for every subscription that it matches (section 3.3.4), so a source must know
//! which of its filters overlap. Both functions take filters without `$share/group/`.

/// Whether every topic that matches `inner` matches `outer` too.
pub fn covers(outer: &str, inner: &str) -> bool {
    // A wildcard at the beginning does not reach `$SYS` and its like (4.7.2).
    if inner.starts_with('$') && outer.starts_with(['+', '#']) {
        return false;
    }
    // Every topic has a first level.
    let outer = if outer == "+/#" { "#" } else { outer };
    let (mut outer, mut inner) = (outer.split('/'), inner.split('/'));
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether there is a topic that matches both.
pub fn overlap(one: &str, other: &str) -> bool {
    let hidden = |a: &str, b: &str| a.starts_with('$') && b.starts_with(['+', '#']);
    if hidden(one, other) || hidden(other, one) {
        return false;
    }
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic::matches;

    #[test]
    fn by_example() {
        assert!(
            covers("a/#", "a") && covers("a/#", "a/+/b") && covers("#", "+/#") && covers("+", "a")
        );
        assert!(!covers("a/+", "a/#") && !covers("a/b", "a/+") && !covers("+", "a/b"));
        assert!(!covers("#", "$SYS/#") && covers("$SYS/#", "$SYS/a"));
        assert!(overlap("a/+", "+/b") && overlap("a/#", "+/b/c") && overlap("a/#", "a"));
        assert!(!overlap("a/+", "b/+") && !overlap("a", "a/b") && !overlap("#", "$SYS/a"));
    }

    /// All topics of one to four levels out of these, and the empty one, which only a hair separates from being legal.
    fn topics() -> Vec<String> {
        let levels = ["a", "b", "", "$x"];
        let mut all: Vec<String> = levels.map(str::to_owned).to_vec();
        let mut longer = all.clone();
        for _ in 0..3 {
            let longest = longer.iter();
            longer = longest
                .flat_map(|t| levels.map(|l| format!("{t}/{l}")))
                .collect();
            all.extend(longer.iter().cloned());
        }
        all
    }

    fn filter() -> impl Strategy<Value = String> {
        let levels =
            prop::collection::vec(prop::sample::select(vec!["a", "b", "", "+", "$x"]), 0..3);
        (levels, prop::sample::select(vec!["#", "+", "a", "b"])).prop_map(|(mut levels, last)| {
            levels.push(last);
            levels.join("/")
        })
    }

    proptest! {
        /// Against all topics that there are.
        #[test]
        fn relations_agree_with_matching(one in filter(), other in filter()) {
            let topics = topics();
            let mut both = topics.iter().filter(|t| matches(&one, t) && matches(&other, t));
            prop_assert_eq!(overlap(&one, &other), both.next().is_some());
            let within = topics.iter().all(|t| !matches(&other, t) || matches(&one, t));
            prop_assert!(!covers(&one, &other) || within, "{} covers {}", one, other);
            prop_assert!(covers(&one, &other) || !within, "{} does not cover {}", one, other);
        }
    }
}
