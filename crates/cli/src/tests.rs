//! The command line as a whole.

use clap::CommandFactory;

use crate::arguments::Arguments;

#[test]
fn every_subcommand_is_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn every_command_that_does_something_has_examples() {
    fn check(path: &str, command: &clap::Command) {
        let path = format!("{path} {}", command.get_name());
        if command.has_subcommands() {
            command.get_subcommands().for_each(|it| check(&path, it));
        } else if command.get_arguments().count() > 0 {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains("ottla "), "{path} has no example");
        }
    }
    Arguments::command().get_subcommands().for_each(|it| check("ottla", it));
}
