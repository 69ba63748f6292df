//! Reads field numbers and types from the source of the messages, as the `#[prost(..)]` attributes declare them.
//!
//! The source itself is compared with the schema, because a list beside it could drift. The parser is as small
//! as rustfmt's layout allows: one attribute, one field, one variant per line, and items that end with `}` at
//! the margin.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One field, as in the JSON of `onnx_descriptor.py`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Field {
    number: u32,
    kind: String,
    label: String,
    packed: bool,
    oneof: Option<String>,
}

/// All messages and enums, by the schema's names.
pub struct Schema {
    /// Fields by name; the members of a oneof are fields of the message around it.
    pub messages: BTreeMap<String, BTreeMap<String, Field>>,
    /// Numbers by name.
    pub enums: BTreeMap<String, BTreeMap<String, i32>>,
}

/// Types that the schema nests in a message and the compiler does not: our name, the schema's name.
const NESTED: [(&str, &str); 11] = [
    ("AttributeType", "AttributeProto.AttributeType"),
    ("DataLocation", "TensorProto.DataLocation"),
    ("DataType", "TensorProto.DataType"),
    ("Dimension", "TensorShapeProto.Dimension"),
    ("MapType", "TypeProto.Map"),
    ("OpaqueType", "TypeProto.Opaque"),
    ("OptionalType", "TypeProto.Optional"),
    ("Segment", "TensorProto.Segment"),
    ("SequenceType", "TypeProto.Sequence"),
    ("SparseTensorType", "TypeProto.SparseTensor"),
    ("TensorType", "TypeProto.Tensor"),
];

/// An item that derives one of prost's traits.
struct Item<'a> {
    name: &'a str,
    members: Vec<Member<'a>>,
}

/// A field or variant with its `#[prost(<attribute>)]`: `pub <name>: <rust_type>,`, `<name>(<rust_type>),` or
/// `<name> = <rust_type>,`.
struct Member<'a> {
    attribute: &'a str,
    name: &'a str,
    rust_type: &'a str,
}

impl Schema {
    /// Reads every file of a folder.
    pub fn read(folder: &Path) -> Schema {
        let mut source = String::new();
        for entry in folder.read_dir().unwrap() {
            source += &fs::read_to_string(entry.unwrap().path()).unwrap();
        }
        let oneofs = items(&source, "prost::Oneof", "pub enum ");
        let messages = items(&source, "prost::Message", "pub struct ");
        let enums = items(&source, "prost::Enumeration", "pub enum ");
        Schema {
            messages: messages
                .iter()
                .map(|message| (schema_name(message.name), message_fields(message, &oneofs)))
                .collect(),
            enums: enums
                .iter()
                .map(|item| (schema_name(item.name), enum_numbers(item)))
                .collect(),
        }
    }
}

fn schema_name(name: &str) -> String {
    let nested = NESTED.iter().find(|(ours, _)| *ours == name);
    nested.map_or(name, |(_, theirs)| theirs).to_string()
}

fn items<'a>(source: &'a str, derived: &str, keyword: &str) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if !(line.starts_with("#[derive(") && line.contains(derived)) {
            continue;
        }
        let head = lines
            .find_map(|line| line.strip_prefix(keyword))
            .expect("an item after its derive");
        let body = lines.by_ref().take_while(|&line| line != "}");
        items.push(Item {
            name: head.trim_end_matches(" {"),
            members: members(body),
        });
    }
    assert!(!items.is_empty(), "no {derived} in the source");
    items
}

fn members<'a>(body: impl Iterator<Item = &'a str>) -> Vec<Member<'a>> {
    let mut members = Vec::new();
    let mut attribute = "";
    for line in body.map(str::trim).filter(|line| !line.starts_with("///")) {
        if let Some(inner) = line.strip_prefix("#[prost(") {
            attribute = inner.strip_suffix(")]").expect("an attribute on one line");
            continue;
        }
        let line = line.trim_start_matches("pub ").trim_end_matches(',');
        let (name, rust_type) = line
            .split_once(": ")
            .or_else(|| line.split_once(" = "))
            .or_else(|| line.trim_end_matches(')').split_once('('))
            .unwrap_or_else(|| panic!("neither field nor variant: {line}"));
        members.push(Member {
            attribute,
            name: name.trim_start_matches("r#"),
            rust_type,
        });
    }
    members
}

fn message_fields(message: &Item<'_>, oneofs: &[Item<'_>]) -> BTreeMap<String, Field> {
    let mut fields = BTreeMap::new();
    for member in &message.members {
        let Some(oneof_type) = quoted(member.attribute, "oneof = ") else {
            let previous = fields.insert(member.name.to_string(), field(member, None));
            assert_eq!(
                previous, None,
                "{}.{} declared twice",
                message.name, member.name
            );
            continue;
        };
        let oneof = oneofs
            .iter()
            .find(|oneof| oneof.name == oneof_type)
            .expect("a known oneof");
        let variants: Vec<Field> = oneof
            .members
            .iter()
            .map(|variant| field(variant, Some(member.name)))
            .collect();
        // prost reads only the numbers in `tags`, whatever variants there are.
        let numbers: Vec<String> = variants
            .iter()
            .map(|field| field.number.to_string())
            .collect();
        assert_eq!(
            quoted(member.attribute, "tags = "),
            Some(&numbers.join(", ")[..])
        );
        let names = oneof.members.iter().map(|variant| snake_case(variant.name));
        fields.extend(names.zip(variants));
    }
    fields
}

fn field(member: &Member<'_>, oneof: Option<&str>) -> Field {
    let attribute = member.attribute;
    let words: Vec<&str> = attribute.split(", ").collect();
    let is_repeated = words.contains(&"repeated");
    // proto2's `optional` must be spelled out: without it prost leaves a default value out of the file.
    assert!(
        is_repeated || oneof.is_some() || words.contains(&"optional"),
        "{}",
        member.name
    );

    let enumeration = quoted(attribute, "enumeration = ");
    let kind = match (words[0], enumeration) {
        (_, Some(name)) => format!("enum {}", schema_name(name)),
        ("message", None) => format!("message {}", schema_name(inner_type(member.rust_type))),
        (scalar, None) => scalar.split(" = ").next().unwrap_or_default().to_string(),
    };
    Field {
        number: quoted(attribute, "tag = ")
            .expect("a tag")
            .parse()
            .expect("a number"),
        packed: match quoted(attribute, "packed = ") {
            Some(packed) => packed == "true",
            // prost's own default for repeated numbers.
            None => {
                is_repeated && !["string", "bytes"].contains(&&kind[..]) && words[0] != "message"
            }
        },
        kind,
        label: if is_repeated { "repeated" } else { "optional" }.to_string(),
        oneof: oneof.map(str::to_string),
    }
}

fn enum_numbers(item: &Item<'_>) -> BTreeMap<String, i32> {
    let number = |member: &Member<'_>| member.rust_type.parse().expect("a number");
    item.members
        .iter()
        .map(|member| (member.name.to_string(), number(member)))
        .collect()
}

/// The text in quotes after a key of an attribute.
fn quoted<'a>(attribute: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = attribute.split_once(key)?;
    rest.strip_prefix('"')?.split('"').next()
}

/// `TypeProto` of `Option<Box<TypeProto>>`.
fn inner_type(rust_type: &str) -> &str {
    let innermost = rust_type.rsplit('<').next().unwrap_or(rust_type);
    innermost.trim_end_matches('>')
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}
