//! How structures are written.

use std::fmt::Write;

use super::emit::{Emitter, condition, is_nullable, primitive_method, snake};
use super::schema::{Field, Primitive, Type, Versions};

impl Emitter<'_> {
    /// The body of `encode`, or of the view's `encode_as`.
    pub fn write_body(&self) -> String {
        let mut body = String::new();
        for field in self.fields() {
            let place = self.place(field);
            let versions = field.tag.map_or(field.versions, |(_, versions)| versions.and(self.flexible()));
            let write = if field.tag.is_some() { String::new() } else { self.write_field(field, &place) };
            let lacking = if field.ignorable {
                String::new()
            } else {
                format!(
                    "if {} {{\nreturn Err(EncodeError::Unsupported {{ field: \"{}.{}\", version }});\n}}\n",
                    self.differs(field, &place),
                    self.shape.name,
                    field.name
                )
            };
            match condition(versions, self.within()) {
                None => body += &write,
                Some(condition) if write.is_empty() && !lacking.is_empty() => {
                    let _ = write!(body, "if !({condition}) {{\n{lacking}}}\n");
                }
                Some(_) if write.is_empty() => {}
                Some(condition) if lacking.is_empty() => {
                    let _ = write!(body, "if {condition} {{\n{write}}}\n");
                }
                Some(condition) => {
                    let _ = write!(body, "if {condition} {{\n{write}}} else {{\n{lacking}}}\n");
                }
            }
        }
        if !self.flexible().is_empty() {
            let tagged = self.write_tagged();
            match self.flexible_expression() {
                "true" => body += &tagged,
                _ => {
                    let _ = write!(
                        body,
                        "if flexible {{\n{tagged}}} else if !self.unknown_tagged_fields.is_empty() {{\n\
                         return Err(EncodeError::Unsupported {{ field: \"{}, tagged fields\", version }});\n}}\n",
                        self.shape.name
                    );
                }
            }
        }
        let binding = self.flexible_binding(&body);
        let mut lists = String::new();
        for field in self.fields().filter(|it| self.view && matches!(it.kind, Type::Array(_))) {
            let name = snake(&field.name);
            let _ = match is_nullable(field) {
                true => writeln!(lists, "let {name} = self.{name}.map(IntoIterator::into_iter);"),
                false => writeln!(lists, "let {name} = self.{name}.into_iter();"),
            };
        }
        format!("{binding}{lists}{body}Ok(())\n")
    }

    fn write_tagged(&self) -> String {
        let mut tagged: Vec<(u32, &Field, Versions)> =
            self.fields().filter_map(|it| it.tag.map(|(tag, versions)| (tag, it, versions))).collect();
        tagged.sort_by_key(|it| it.0);
        let unknown = "self.unknown_tagged_fields";
        let slice = if self.view { "" } else { ".as_slice()" };
        let (mut counts, mut writes) = (String::new(), String::new());
        for (tag, field, versions) in tagged {
            let name = snake(&field.name);
            let differs = self.differs(field, &self.place(field));
            let has = match condition(versions, self.flexible()) {
                None => differs,
                Some(condition) => format!("{condition} && {differs}"),
            };
            let write = self.write_field(field, &self.place(field));
            let _ = write!(counts, "let has_{name} = {has};\ncount += usize::from(has_{name});\n");
            let _ = write!(
                writes,
                "if has_{name} {{\nwriter.unknown_tagged_fields(&mut unknown, {tag})?;\n\
                 writer.tagged_field({tag}, |writer| {{\n{write}Ok(())\n}})?;\n}}\n"
            );
        }
        if counts.is_empty() {
            return format!(
                "writer.tagged_field_count({unknown}.len())?;\nlet mut unknown = {unknown}{slice};\n\
                 writer.unknown_tagged_fields(&mut unknown, u32::MAX)?;\n"
            );
        }
        format!(
            "let mut unknown = {unknown}{slice};\nlet mut count = unknown.len();\n{counts}\
             writer.tagged_field_count(count)?;\n{writes}writer.unknown_tagged_fields(&mut unknown, u32::MAX)?;\n"
        )
    }

    /// Where the value of a field is. The lists of a view are iterators in variables of their own.
    fn place(&self, field: &Field) -> String {
        match field.kind {
            Type::Array(_) if self.view => snake(&field.name),
            _ => format!("self.{}", snake(&field.name)),
        }
    }

    fn write_field(&self, field: &Field, place: &str) -> String {
        let flexible = if field.never_flexible { "false" } else { self.flexible_expression() };
        if !is_nullable(field) {
            return self.write_value(&field.kind, place, flexible);
        }
        let absent = if field.tag.is_some() { "tagged_absent" } else { "absent" };
        let nullable = match &field.kind {
            Type::Primitive(Primitive::String) => {
                format!("writer.nullable_string({flexible}, {place}.as_deref())?;\n")
            }
            Type::Primitive(Primitive::Records) if self.view => {
                format!("writer.nullable_records({flexible}, {place})?;\n")
            }
            Type::Primitive(_) => format!("writer.nullable_bytes({flexible}, {place}.as_deref())?;\n"),
            Type::Struct(_) => format!(
                "match &{place} {{\nNone => writer.{absent}(),\nSome(it) => {{\nwriter.present();\n\
                 it.encode(writer, version)?;\n}}\n}}\n"
            ),
            Type::Array(element) => {
                let element = self.write_element(element, flexible);
                let (method, list) =
                    if self.view { ("nullable_items", "") } else { ("nullable_array", ".as_deref()") };
                format!("writer.{method}({flexible}, {place}{list}, |writer, it| {{\n{element}}})?;\n")
            }
        };
        // What is not null is written alike whether or not the version knows null, structures apart.
        match condition(field.nullable, field.versions.and(self.within())) {
            None => nullable,
            Some(_) if matches!(field.kind, Type::Struct(_)) => {
                panic!("{}.{}: a structure is nullable wherever it is", self.shape.name, field.name)
            }
            Some(condition) => format!(
                "if {place}.is_none() && !({condition}) {{\n\
                 return Err(EncodeError::Null {{ field: \"{}.{}\", version }});\n}}\n{nullable}",
                self.shape.name, field.name
            ),
        }
    }

    fn write_value(&self, kind: &Type, place: &str, flexible: &str) -> String {
        match kind {
            Type::Primitive(Primitive::String) => format!("writer.string({flexible}, &{place})?;\n"),
            Type::Primitive(Primitive::Records) if self.view => {
                format!("writer.records({flexible}, {place})?;\n")
            }
            Type::Primitive(Primitive::Bytes | Primitive::Records) => {
                format!("writer.bytes({flexible}, &{place})?;\n")
            }
            Type::Primitive(primitive) => format!("writer.{}({place});\n", primitive_method(*primitive)),
            Type::Struct(_) => format!("{place}.encode(writer, version)?;\n"),
            Type::Array(element) => {
                let element = self.write_element(element, flexible);
                let (method, borrow) = if self.view { ("items", "") } else { ("array", "&") };
                format!("writer.{method}({flexible}, {borrow}{place}, |writer, it| {{\n{element}}})?;\n")
            }
        }
    }

    /// The body of a closure that writes an element of a list.
    fn write_element(&self, element: &Type, flexible: &str) -> String {
        match element {
            Type::Primitive(Primitive::String) if self.view => {
                format!("writer.string({flexible}, it.as_ref())\n")
            }
            Type::Primitive(Primitive::String) => format!("writer.string({flexible}, it)\n"),
            Type::Struct(_) if self.view => "it.encode_as(writer, version)\n".to_owned(),
            Type::Struct(_) => "it.encode(writer, version)\n".to_owned(),
            Type::Primitive(Primitive::Bytes | Primitive::Records) | Type::Array(_) => {
                panic!("{}: no list of bytes or of lists is known", self.shape.name)
            }
            Type::Primitive(primitive) => {
                let star = if self.view { "" } else { "*" };
                format!("writer.{}({star}it);\nOk(())\n", primitive_method(*primitive))
            }
        }
    }
}
