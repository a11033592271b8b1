//! What is told beside a value: the properties of metrics, and the parameters of templates. Both become JSON objects.
//!
//! One property has a meaning of its own: `Quality`, which says whether the value can be trusted.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use super::list::{Scalar, write_scalar};
use super::payload::{Property, PropertySet, PropertySetList, PropertyValue, Template};

/// The name of the property that tells how good a value is.
const QUALITY: &str = "Quality";
const INT32: u32 = 3;

/// The specification's qualities, with their codes.
const QUALITIES: [(&str, u32); 3] = [("BAD", 0), ("GOOD", 192), ("STALE", 500)];

/// What the properties say of the quality: a code of the specification by its name, any other in digits.
pub(super) fn quality(set: &PropertySet) -> Option<Cow<'static, str>> {
    let at = set.keys.iter().position(|key| key == QUALITY)?;
    let code = match set.values.get(at)?.value {
        Some(PropertyValue::Int(code)) => u64::from(code),
        Some(PropertyValue::Long(code)) => code,
        _ => return None,
    };
    let known = QUALITIES
        .iter()
        .find(|(_, known)| u64::from(*known) == code);
    Some(known.map_or_else(|| code.to_string().into(), |(name, _)| (*name).into()))
}

/// Puts a quality among the properties. `GOOD` goes without saying.
///
/// # Errors
/// A name that is no quality.
pub(super) fn set_quality(set: &mut Option<PropertySet>, name: &str) -> Result<(), String> {
    let Some((_, code)) = QUALITIES.iter().find(|(known, _)| *known == name) else {
        return Err(format!("'{name}' is no quality; it is BAD, GOOD or STALE"));
    };
    let property = Property {
        datatype: Some(INT32),
        is_null: None,
        value: Some(PropertyValue::Int(*code)),
    };
    let known = set.as_mut().and_then(|set| {
        let at = set.keys.iter().position(|key| key == QUALITY)?;
        set.values.get_mut(at)
    });
    match known {
        Some(known) => *known = property,
        None if name == "GOOD" => {}
        None => set.get_or_insert_default().push(QUALITY, property),
    }
    Ok(())
}

impl PropertySet {
    fn push(&mut self, key: &str, value: Property) {
        self.keys.push(key.to_owned());
        self.values.push(value);
    }
}

/// The properties as a JSON object. What has no value is null.
pub(super) fn json(set: &PropertySet) -> String {
    let mut out = Vec::new();
    // A vector takes everything.
    let written = write_set(&mut out, set);
    debug_assert!(written.is_ok());
    String::from_utf8(out).unwrap_or_default()
}

/// The parameters of a template as a JSON object, if it has any.
pub(super) fn parameters(template: &Template) -> Option<String> {
    if template.parameters.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    let parameters = template.parameters.iter().map(|parameter| {
        let name = parameter.name.as_deref().unwrap_or_default();
        (name, parameter.value.as_ref(), parameter.datatype)
    });
    let written = write_members(&mut out, parameters);
    debug_assert!(written.is_ok());
    String::from_utf8(out).ok()
}

fn write_set(out: &mut Vec<u8>, set: &PropertySet) -> std::io::Result<()> {
    let members = set.keys.iter().enumerate().map(|(at, key)| {
        let property = set.values.get(at);
        let property = property.filter(|property| !property.is_null());
        let value = property.and_then(|property| property.value.as_ref());
        (key.as_str(), value, property.and_then(|p| p.datatype))
    });
    write_members(out, members)
}

fn write_members<'a>(
    out: &mut Vec<u8>,
    members: impl Iterator<Item = (&'a str, Option<&'a PropertyValue>, Option<u32>)>,
) -> std::io::Result<()> {
    out.push(b'{');
    for (n, (name, value, datatype)) in members.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, name)?;
        out.push(b':');
        write_value(out, value, datatype.unwrap_or(0))?;
    }
    out.push(b'}');
    Ok(())
}

fn write_value(
    out: &mut Vec<u8>,
    value: Option<&PropertyValue>,
    datatype: u32,
) -> std::io::Result<()> {
    let scalar = match value {
        None => None,
        Some(PropertyValue::Set(set)) => return write_set(out, set),
        Some(PropertyValue::Sets(PropertySetList { sets })) => {
            out.push(b'[');
            for (n, set) in sets.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_set(out, set)?;
            }
            out.push(b']');
            return Ok(());
        }
        Some(PropertyValue::Int(value)) => Some(Scalar::Int(*value)),
        Some(PropertyValue::Long(value)) => Some(Scalar::Long(*value)),
        Some(PropertyValue::Float(value)) => Some(Scalar::Float(*value)),
        Some(PropertyValue::Double(value)) => Some(Scalar::Double(*value)),
        Some(PropertyValue::Boolean(value)) => Some(Scalar::Boolean(*value)),
        Some(PropertyValue::String(text)) => Some(Scalar::String(text)),
    };
    write_scalar(out, scalar, datatype)
}

/// A JSON object as properties. Integers become the smallest of Int32, Int64 and UInt64 that holds them, other numbers
/// Double, objects sets of their own, lists of objects lists of such.
///
/// # Errors
/// Text that is no JSON object; a list of other than objects.
pub(super) fn parse(text: &str) -> Result<PropertySet, String> {
    match serde_json::from_str(text) {
        Ok(Json::Object(members)) => set_of(&members),
        _ => Err("the properties are no JSON object".to_owned()),
    }
}

fn set_of(members: &Map<String, Json>) -> Result<PropertySet, String> {
    let mut set = PropertySet::default();
    for (key, value) in members {
        let (datatype, value) =
            property(value).map_err(|reason| format!("the property '{key}' {reason}"))?;
        set.push(
            key,
            Property {
                datatype: Some(datatype),
                is_null: value.is_none().then_some(true),
                value,
            },
        );
    }
    Ok(set)
}

fn property(value: &Json) -> Result<(u32, Option<PropertyValue>), String> {
    let (datatype, value) = match value {
        Json::Null => return Ok((12, None)),
        Json::Bool(value) => (11, PropertyValue::Boolean(*value)),
        Json::String(text) => (12, PropertyValue::String(text.clone())),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => match i32::try_from(value) {
                Ok(value) => (INT32, PropertyValue::Int(value as u32)),
                Err(_) => (4, PropertyValue::Long(value as u64)),
            },
            (None, Some(value)) => (8, PropertyValue::Long(value)),
            (None, None) => (
                10,
                PropertyValue::Double(number.as_f64().unwrap_or(f64::NAN)),
            ),
        },
        Json::Object(members) => (20, PropertyValue::Set(set_of(members)?)),
        Json::Array(items) => {
            let sets = items.iter().map(|item| match item {
                Json::Object(members) => set_of(members),
                _ => Err("is a list of other than objects, which properties cannot be".to_owned()),
            });
            let sets = sets.collect::<Result<_, _>>()?;
            (21, PropertyValue::Sets(PropertySetList { sets }))
        }
    };
    Ok((datatype, Some(value)))
}
