//! How the records that Kafka writes for itself are shown to people: every field under Kafka's name.

use std::fmt::Write;

use super::dispatch;
use super::emit::{Emitter, condition, renames, snake};
use super::schema::Message;

/// The Rust that describes these messages and their sums.
pub fn file(stem: &str, messages: &[Message]) -> String {
    let mut text = String::new();
    let renamed = renames(messages);
    for message in messages {
        for shape in &message.structs {
            Emitter { message, shape, renamed: &renamed, view: false }.describe(&mut text);
        }
    }
    for (name, _, messages) in dispatch::sums(stem, messages) {
        describe_sum(&mut text, &name, &messages);
    }
    text
}

impl Emitter<'_> {
    fn describe(&self, text: &mut String) {
        let mut body = String::new();
        for field in self.fields() {
            let (place, name) = (format!("self.{}", snake(&field.name)), lower_camel(&field.name));
            let add = format!("fields.add(\"{name}\", &{place});\n");
            // As in Kafka, a tagged field that is not written is not shown.
            let versions = field.tag.map_or(field.versions, |(_, versions)| versions.and(self.flexible()));
            let differs = field.tag.map(|_| self.differs(field, &place));
            let conditions: Vec<String> =
                condition(versions, self.within()).into_iter().chain(differs).collect();
            if conditions.is_empty() {
                body += &add;
            } else {
                let _ = write!(body, "if {} {{\n{add}}}\n", conditions.join(" && "));
            }
        }
        let name = self.struct_name(&self.shape.name);
        let binding = if body.is_empty() { "let" } else { "let mut" };
        let _ = write!(
            text,
            "impl crate::Describe for {name} {{\nfn describe(&self, version: i16) -> crate::Description {{\n\
             {binding} fields = crate::DescribedFields::new(version);\n{body}fields.finish()\n}}\n}}\n\n"
        );
    }
}

fn describe_sum(text: &mut String, name: &str, messages: &[&Message]) {
    let arms = |right: &dyn Fn(&str) -> String| -> String {
        messages.iter().map(|it| format!("{name}::{},\n", right(it.name()))).collect()
    };
    let _ = write!(
        text,
        "impl {name} {{\n/// Kafka's name of the type.\npub const fn name(&self) -> &'static str {{\nmatch self {{\n{}}}\n}}\n}}\n\n\
         impl crate::Describe for {name} {{\nfn describe(&self, version: i16) -> crate::Description {{\n\
         match self {{\n{}}}\n}}\n}}\n\n",
        arms(&|kind| format!("{kind}(_) => {kind}::NAME")),
        arms(&|kind| format!("{kind}(it) => it.describe(version)")),
    );
}

/// The name that Kafka's JSON has: the first letter small.
fn lower_camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}
