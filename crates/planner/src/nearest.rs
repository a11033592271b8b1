//! The name that was probably meant.

/// Of the names that exist, the one nearest to the one that was written, if any is near enough to be a slip.
pub(crate) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = written.to_lowercase();
    let slips_max = (written.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&lower, &name.to_lowercase()),
                name,
            )
        })
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, name)| name)
}

/// A name as it must be written in SQL: in double quotes if it would be read differently without.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if plain && starts_well {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_a_different_word_is_not() {
        let known = ["temperature", "device", "deviceId"];
        assert_eq!(nearest("temprature", known), Some("temperature"));
        assert_eq!(nearest("deviceid", known), Some("deviceId"));
        assert_eq!(nearest("ts", known), None);
        assert_eq!(nearest("humidity", known), None);
    }

    #[test]
    fn names_are_quoted_when_sql_would_change_them() {
        assert_eq!(quoted("device_1"), "device_1");
        assert_eq!(quoted("deviceId"), "\"deviceId\"");
        assert_eq!(quoted("1st"), "\"1st\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
