//! Views: structures that are written straight from state, without being built.

use std::fmt::Write;

use super::emit::{Emitter, is_nullable, mentions, primitive_type, snake};
use super::schema::{Field, Primitive, Type};

impl Emitter<'_> {
    /// Whether the structure has a view: it holds a list, or records.
    pub fn has_view(&self) -> bool {
        let holds = |it: &Field| matches!(it.kind, Type::Array(_) | Type::Primitive(Primitive::Records));
        self.message.streamed && self.fields().any(holds)
    }

    /// How the structure is written as an element of a list, and its view.
    pub fn stream(&self, text: &mut String) {
        let name = self.struct_name(&self.shape.name);
        let head = |target: &str| {
            format!(
                "impl crate::EncodeAs<{name}> for {target} {{\n\
                 fn encode_as(self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {{\n"
            )
        };
        if self.has_view() {
            let view = Emitter { view: true, ..*self };
            view.declare_view(text, &name);
            let fields: String = self.fields().map(|it| self.borrow(it)).collect();
            let _ = write!(
                text,
                "{}{name}View {{\n{fields}unknown_tagged_fields: &self.unknown_tagged_fields,\n}}\n\
                 .encode_as(writer, version)\n}}\n}}\n\n",
                head(&format!("&{name}"))
            );
        } else {
            let _ = write!(text, "{}self.encode(writer, version)\n}}\n}}\n\n", head(&format!("&{name}")));
        }
        let _ = write!(text, "{}self.encode(writer, version)\n}}\n}}\n\n", head(&name));
    }

    /// The declaration of a view, and how it is written.
    fn declare_view(&self, text: &mut String, name: &str) {
        let lists: Vec<(String, &Field)> = self
            .fields()
            .filter(|it| matches!(it.kind, Type::Array(_)))
            .map(|it| (format!("{}Iter", it.name), it))
            .collect();
        let parameters: String = lists.iter().map(|it| format!(", {}", it.0)).collect();
        let _ = write!(
            text,
            "/// What a [`{name}`] says, borrowed from where it is kept: it is written without being built. Lists are\n\
             /// whatever iterates and knows its length.\npub struct {name}View<'a{parameters}> {{\n"
        );
        for field in self.fields() {
            let name = snake(&field.name);
            let _ = writeln!(text, "/// `{}`.\npub {name}: {},", field.name, self.view_type(field));
        }
        text.push_str(
            "/// Tagged fields that this release does not know.\n\
             pub unknown_tagged_fields: &'a [UnknownTaggedField],\n}\n\n",
        );
        let mut bounds = String::new();
        for (parameter, field) in &lists {
            let Type::Array(element) = &field.kind else { continue };
            let item = match &**element {
                Type::Struct(name) => format!("Item: crate::EncodeAs<{}>", self.struct_name(name)),
                Type::Primitive(Primitive::String) => "Item: AsRef<str>".to_owned(),
                Type::Primitive(primitive) => format!("Item = {}", primitive_type(*primitive)),
                Type::Array(_) => panic!("{name}: no list of lists is known"),
            };
            let _ = writeln!(bounds, "{parameter}: IntoIterator<{item}, IntoIter: ExactSizeIterator>,");
        }
        let body = self.write_body();
        let version = if mentions(&body, "version") { "version" } else { "_version" };
        let _ = write!(
            text,
            "impl<'a{parameters}> crate::EncodeAs<{name}> for {name}View<'a{parameters}>\nwhere {bounds} {{\n\
             fn encode_as(self, writer: &mut Writer, {version}: i16) -> Result<(), EncodeError> {{\n{body}}}\n}}\n\n"
        );
    }

    fn view_type(&self, field: &Field) -> String {
        let kind = match &field.kind {
            Type::Array(_) => format!("{}Iter", field.name),
            Type::Struct(name) => format!("&'a {}", self.struct_name(name)),
            Type::Primitive(Primitive::String) => "&'a str".to_owned(),
            Type::Primitive(Primitive::Bytes) => "&'a [u8]".to_owned(),
            Type::Primitive(Primitive::Records) => "crate::Records<'a>".to_owned(),
            Type::Primitive(primitive) => primitive_type(*primitive).to_owned(),
        };
        if is_nullable(field) { format!("Option<{kind}>") } else { kind }
    }

    /// A field of the view out of the structure's own.
    fn borrow(&self, field: &Field) -> String {
        let name = snake(&field.name);
        let nullable = is_nullable(field);
        let is_number = |it: &Type| {
            let text = [Primitive::String, Primitive::Bytes, Primitive::Records];
            matches!(it, Type::Primitive(primitive) if !text.contains(primitive))
        };
        match &field.kind {
            Type::Array(element) if is_number(element) && nullable => {
                format!("{name}: self.{name}.as_ref().map(|it| it.iter().copied()),\n")
            }
            Type::Array(element) if is_number(element) => format!("{name}: self.{name}.iter().copied(),\n"),
            Type::Primitive(Primitive::Records) if nullable => {
                format!("{name}: self.{name}.as_deref().map(crate::Records::Inline),\n")
            }
            Type::Primitive(Primitive::Records) => format!("{name}: crate::Records::Inline(&self.{name}),\n"),
            Type::Primitive(Primitive::String | Primitive::Bytes) if nullable => {
                format!("{name}: self.{name}.as_deref(),\n")
            }
            kind if is_number(kind) => format!("{name}: self.{name},\n"),
            _ if nullable => format!("{name}: self.{name}.as_ref(),\n"),
            _ => format!("{name}: &self.{name},\n"),
        }
    }
}
