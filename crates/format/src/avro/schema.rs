//! Avro's schemas: read from JSON, with names resolved, and their fingerprint.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::Value;

/// A place in [`Schema::nodes`].
pub(super) type NodeId = usize;

/// A schema, its named types resolved. Recursive types refer to earlier nodes.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
    /// CRC-64-AVRO of the Parsing Canonical Form.
    pub(super) fingerprint: u64,
}

/// One type. Logical types are types of their own.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Date,
    /// A time of day: whether it is a long, and how many nanoseconds its unit has.
    Time {
        long: bool,
        nanos: i64,
    },
    /// An instant, with the nanoseconds of its unit.
    Timestamp(i64),
    /// Big-endian two's complement, of a fixed size or with a length before it.
    Decimal {
        size: Option<usize>,
        scale: i32,
    },
    Fixed(usize),
    Enum(Vec<String>),
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<Field>),
}

/// A field of a record.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) node: NodeId,
}

/// The types that a size is made of are small; this only keeps nonsense from being believed.
const FIXED_SIZE_MAX: u64 = 1 << 20;
/// How deep types may be nested in the schema's text.
const DEPTH_MAX: usize = 64;

impl Schema {
    /// Reads a schema, which must be of a record.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        let mut parser = Parser::default();
        let root = parser.node(&json, "", 0)?;
        if !matches!(parser.nodes[root], Node::Record(_)) {
            return Err("the schema must be a record, whose fields are the columns".to_owned());
        }
        let mut canonical = String::new();
        canonicalise(&json, "", &mut canonical);
        Ok(Self {
            nodes: parser.nodes,
            root,
            fingerprint: rabin(canonical.as_bytes()),
        })
    }

    /// The fields of the record.
    pub(super) fn fields(&self) -> &[Field] {
        match &self.nodes[self.root] {
            Node::Record(fields) => fields,
            // `parse` leaves no other case.
            _ => &[],
        }
    }
}

#[derive(Default)]
struct Parser {
    nodes: Vec<Node>,
    named: HashMap<String, NodeId>,
}

impl Parser {
    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn node(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<NodeId, String> {
        if depth > DEPTH_MAX {
            return Err(format!(
                "types are nested more than {DEPTH_MAX} levels deep"
            ));
        }
        match json {
            Value::String(name) => self.reference(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter();
                let nodes: Result<Vec<_>, _> = branches
                    .map(|branch| self.node(branch, namespace, depth + 1))
                    .collect();
                Ok(self.add(Node::Union(nodes?)))
            }
            Value::Object(_) => self.object(json, namespace, depth),
            other => Err(format!("'{other}' is no type")),
        }
    }

    fn reference(&mut self, name: &str, namespace: &str) -> Result<NodeId, String> {
        if let Some(node) = primitive(name) {
            return Ok(self.add(node));
        }
        let known = self.named.get(&full_name(name, namespace));
        known
            .or_else(|| self.named.get(name))
            .copied()
            .ok_or_else(|| format!("unknown type '{name}'"))
    }

    fn object(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<NodeId, String> {
        let kind = match &json["type"] {
            Value::String(kind) => kind.as_str(),
            Value::Null => return Err("a type without \"type\"".to_owned()),
            inner => return self.node(inner, namespace, depth + 1),
        };
        let logical = json["logicalType"].as_str().unwrap_or_default();
        let node = match kind {
            "array" => Node::Array(self.node(&json["items"], namespace, depth + 1)?),
            "map" => Node::Map(self.node(&json["values"], namespace, depth + 1)?),
            "record" | "error" => return self.record(json, namespace, depth),
            "enum" => {
                let symbols = json["symbols"].as_array().into_iter().flatten();
                let symbols = symbols.filter_map(|symbol| symbol.as_str().map(str::to_owned));
                return self.define(json, namespace, Node::Enum(symbols.collect()));
            }
            "fixed" => {
                let size = json["size"].as_u64().filter(|size| *size <= FIXED_SIZE_MAX);
                let size = size.ok_or("a fixed type without a valid \"size\"")? as usize;
                let node = match decimal(json, logical, Some(size)) {
                    Some(decimal) => decimal,
                    None => Node::Fixed(size),
                };
                return self.define(json, namespace, node);
            }
            _ => match primitive(kind) {
                Some(plain) => decimal(json, logical, None)
                    .filter(|_| kind == "bytes")
                    .or_else(|| logical_type(&plain, logical))
                    .unwrap_or(plain),
                None => return self.reference(kind, namespace),
            },
        };
        Ok(self.add(node))
    }

    /// Adds a named type.
    fn define(&mut self, json: &Value, namespace: &str, node: Node) -> Result<NodeId, String> {
        let name = json["name"]
            .as_str()
            .ok_or("a named type without \"name\"")?;
        let full = full_name(name, json["namespace"].as_str().unwrap_or(namespace));
        let id = self.add(node);
        if self.named.insert(full.clone(), id).is_some() {
            return Err(format!("the type '{full}' is defined twice"));
        }
        Ok(id)
    }

    fn record(&mut self, json: &Value, namespace: &str, depth: usize) -> Result<NodeId, String> {
        // Known by its name before its fields are, which may be of this very type.
        let id = self.define(json, namespace, Node::Record(Vec::new()))?;
        let inner = inner_namespace(json, namespace);
        let mut fields: Vec<Field> = Vec::new();
        for field in json["fields"]
            .as_array()
            .ok_or("a record without \"fields\"")?
        {
            let name = field["name"].as_str().ok_or("a field without \"name\"")?;
            if fields.iter().any(|known| known.name == name) {
                return Err(format!("the field '{name}' is defined twice"));
            }
            let node = self.node(&field["type"], &inner, depth + 1);
            fields.push(Field {
                name: name.to_owned(),
                node: node.map_err(|e| format!("field '{name}': {e}"))?,
            });
        }
        self.nodes[id] = Node::Record(fields);
        Ok(id)
    }
}

fn primitive(name: &str) -> Option<Node> {
    Some(match name {
        "null" => Node::Null,
        "boolean" => Node::Boolean,
        "int" => Node::Int,
        "long" => Node::Long,
        "float" => Node::Float,
        "double" => Node::Double,
        "bytes" => Node::Bytes,
        "string" => Node::String,
        _ => return None,
    })
}

/// A logical type that changes what a primitive means; others are to be passed over, as the specification says.
fn logical_type(plain: &Node, logical: &str) -> Option<Node> {
    let (long, nanos) = match plain {
        Node::Int => (false, 1_000_000),
        Node::Long => (true, 1_000),
        _ => return None,
    };
    Some(match logical {
        "date" if !long => Node::Date,
        "time-millis" if !long => Node::Time { long, nanos },
        "time-micros" if long => Node::Time { long, nanos },
        "timestamp-millis" | "local-timestamp-millis" if long => Node::Timestamp(1_000_000),
        "timestamp-micros" | "local-timestamp-micros" if long => Node::Timestamp(1_000),
        "timestamp-nanos" | "local-timestamp-nanos" if long => Node::Timestamp(1),
        _ => return None,
    })
}

fn decimal(json: &Value, logical: &str, size: Option<usize>) -> Option<Node> {
    let scale = json["scale"].as_u64().unwrap_or(0);
    let valid = logical == "decimal" && scale <= 38 && json["precision"].as_u64().is_some();
    valid.then_some(Node::Decimal {
        size,
        scale: scale as i32,
    })
}

fn full_name(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

/// The namespace of the types within a named type.
fn inner_namespace(json: &Value, namespace: &str) -> String {
    let name = json["name"].as_str().unwrap_or_default();
    match name.rsplit_once('.') {
        Some((inner, _)) => inner.to_owned(),
        None => json["namespace"].as_str().unwrap_or(namespace).to_owned(),
    }
}

/// The Parsing Canonical Form: full names, only what matters for parsing, in a fixed order, without space.
fn canonicalise(json: &Value, namespace: &str, out: &mut String) {
    match json {
        Value::String(name) if primitive(name).is_some() => quote(name, out),
        Value::String(name) => quote(&full_name(name, namespace), out),
        Value::Array(branches) => {
            list(branches, out, |branch, out| {
                canonicalise(branch, namespace, out)
            });
        }
        _ => match json["type"].as_str() {
            None => canonicalise(&json["type"], namespace, out),
            Some(kind @ ("array" | "map")) => {
                let inner = if kind == "array" { "items" } else { "values" };
                // Writing to a string cannot fail.
                let written = write!(out, "{{\"type\":\"{kind}\",\"{inner}\":");
                debug_assert!(written.is_ok());
                canonicalise(&json[inner], namespace, out);
                out.push('}');
            }
            Some(kind @ ("record" | "error" | "enum" | "fixed")) => {
                canonical_named(json, kind, namespace, out);
            }
            Some(name) => canonicalise(&Value::from(name), namespace, out),
        },
    }
}

fn canonical_named(json: &Value, kind: &str, namespace: &str, out: &mut String) {
    let name = json["name"].as_str().unwrap_or_default();
    let own = json["namespace"].as_str().unwrap_or(namespace);
    out.push_str("{\"name\":");
    quote(&full_name(name, own), out);
    out.push_str(",\"type\":");
    quote(kind, out);
    let items = |name: &str| json[name].as_array().map(Vec::as_slice).unwrap_or_default();
    match kind {
        "enum" => {
            out.push_str(",\"symbols\":");
            list(items("symbols"), out, |symbol, out| {
                quote(symbol.as_str().unwrap_or_default(), out);
            });
        }
        "fixed" => {
            out.push_str(",\"size\":");
            out.push_str(&json["size"].to_string());
        }
        _ => {
            let inner = inner_namespace(json, namespace);
            out.push_str(",\"fields\":");
            list(items("fields"), out, |field, out| {
                out.push_str("{\"name\":");
                quote(field["name"].as_str().unwrap_or_default(), out);
                out.push_str(",\"type\":");
                canonicalise(&field["type"], &inner, out);
                out.push('}');
            });
        }
    }
    out.push('}');
}

fn list(items: &[Value], out: &mut String, each: impl Fn(&Value, &mut String)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(']');
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// CRC-64-AVRO, as the specification defines it.
fn rabin(bytes: &[u8]) -> u64 {
    const EMPTY: u64 = 0xC15D_213A_A4D7_A795;
    bytes.iter().fold(EMPTY, |fingerprint, &byte| {
        let mut entry = (fingerprint ^ u64::from(byte)) & 0xFF;
        for _ in 0..8 {
            entry = (entry >> 1) ^ (EMPTY & 0u64.wrapping_sub(entry & 1));
        }
        (fingerprint >> 8) ^ entry
    })
}
