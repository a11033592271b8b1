//! Names for the wildcard levels of a topic filter.
//!
//! A level that varies is an identifier, and the level before it tells of what: `sensors/+` is a sensor, `line/+` a line.
//! Where it does not tell, the level is called by its number.

/// Words that stand before an identifier in the singular.
const KINDS: &[&str] = &[
    "area", "asset", "building", "camera", "cell", "channel", "client", "customer", "device",
    "door", "floor", "gateway", "group", "home", "house", "line", "location", "machine", "meter",
    "module", "node", "panel", "plant", "pump", "region", "robot", "room", "sensor", "site",
    "station", "switch", "tag", "tank", "tenant", "truck", "unit", "user", "vehicle", "zone",
];

/// A filter whose wildcard levels have names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// `sensors/{sensor}/temperature`.
    pub(super) pattern: String,
    /// The names, those that were given included, in order.
    pub(super) names: Vec<String>,
}

/// Names every `+` of a filter (without `$share/group/`).
pub(super) fn name_levels(filter: &str) -> Named {
    let levels: Vec<&str> = filter.split('/').collect();
    let given = |level: &&str| inner(level).map(str::to_owned);
    let mut taken: Vec<String> = levels.iter().filter_map(given).collect();
    let mut names = Vec::new();
    let mut named = Vec::with_capacity(levels.len());
    for (index, level) in levels.iter().enumerate() {
        if let Some(name) = inner(level) {
            names.push(name.to_owned());
        }
        if *level != "+" {
            named.push((*level).to_owned());
            continue;
        }
        let before = index.checked_sub(1).and_then(|before| kind(levels[before]));
        let name = before
            .filter(|name| !taken.contains(name))
            .unwrap_or_else(|| numbered(index + 1, &taken));
        named.push(format!("{{{name}}}"));
        taken.push(name.clone());
        names.push(name);
    }
    Named {
        pattern: named.join("/"),
        names,
    }
}

fn inner(level: &str) -> Option<&str> {
    level.strip_prefix('{')?.strip_suffix('}')
}

/// `level2`, or what is like it and free.
fn numbered(number: usize, taken: &[String]) -> String {
    let mut name = format!("level{number}");
    while taken.contains(&name) {
        name.push('_');
    }
    name
}

/// Of what the level behind this one is an identifier.
fn kind(level: &str) -> Option<String> {
    let word = level.to_ascii_lowercase();
    if word.len() < 3 || !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
        return None;
    }
    // of `factory_lines` the last word counts
    let last = word.rsplit('_').next().unwrap_or(&word);
    if KINDS.contains(&last) {
        return Some(word);
    }
    singular(&word)
}

fn singular(word: &str) -> Option<String> {
    if let Some(stem) = word.strip_suffix("ies") {
        return Some(format!("{stem}y"));
    }
    for ending in ["sses", "xes", "ches", "shes"] {
        if word.ends_with(ending) {
            return Some(word[..word.len() - 2].to_owned());
        }
    }
    let stem = word.strip_suffix('s')?;
    // status, bus, chassis, press
    let plural = stem.len() >= 3 && !stem.ends_with(['s', 'u', 'i']);
    plural.then(|| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str, pattern: &str, names: &[&str]) {
        let named = name_levels(filter);
        assert_eq!(
            (named.pattern.as_str(), named.names.as_slice()),
            (
                pattern,
                &names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()[..]
            ),
            "{filter}"
        );
    }

    #[test]
    fn levels_are_called_by_what_stands_before_them() {
        check("a/b", "a/b", &[]);
        check(
            "sensors/+/temperature",
            "sensors/{sensor}/temperature",
            &["sensor"],
        );
        check(
            "plant/+/line/+/#",
            "plant/{plant}/line/{line}/#",
            &["plant", "line"],
        );
        check(
            "+/status/+",
            "{level1}/status/{level3}",
            &["level1", "level3"],
        );
        check("Batteries/+", "Batteries/{battery}", &["battery"]);
        check("gw/boxes/+/x", "gw/boxes/{box}/x", &["box"]);
        check(
            "v1/+/in/+",
            "v1/{level2}/in/{level4}",
            &["level2", "level4"],
        );
        check(
            "devices/+/devices/+",
            "devices/{device}/devices/{level4}",
            &["device", "level4"],
        );
        check(
            "sites/{device}/devices/+",
            "sites/{device}/devices/{level4}",
            &["device", "level4"],
        );
        check("{level2}/+", "{level2}/{level2_}", &["level2", "level2_"]);
    }
}
