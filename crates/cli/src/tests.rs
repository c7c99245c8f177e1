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

/// Whether a command line is understood.
fn understood(line: &str) -> bool {
    Arguments::command().try_get_matches_from(line.split_whitespace()).is_ok()
}

#[test]
fn command_lines() {
    for line in [
        "ottla start",
        "ottla start --config server.properties --override a=b --override c=d --log-format json",
        "ottla --log-level debug start -c server.properties",
        "ottla format -t id -c server.properties --standalone -g -r 4.4 -f group.version=1 -S SCRAM-SHA-256=[name=a]",
        "ottla format --cluster-id id --config s --initial-controllers 1@h:1:d --feature a=1 --add-scram x",
        "ottla format -t id -N",
        "ottla storage info -c s",
        "ottla storage feature-dependencies -f group.version=1 -f kraft.version=1",
        "ottla cluster random-id",
        "ottla cluster -b host:1 describe --json",
        "ottla topic create a b -p 3 -r 2 --config x=y --if-not-exists",
        "ottla topic --bootstrap-server host:1 list",
        "ottla topic list --bootstrap-server host:1 --command-config client.properties",
        "ottla topic create a --replica-assignment 1:2,2:1",
        "ottla config describe topic a --all",
        "ottla config describe broker",
        "ottla config alter topics a --add-config x=y --delete-config z",
        "ottla produce a -K : -H x=y -z zstd --acks 1 -p 0 -X linger.ms=1",
        "ottla consume a --offset -5 -p 0 -p 1 -n 3 -e",
        "ottla consume a --from-beginning --json --timeout-ms 100",
        "ottla log dump --deep --files a,b --json",
        "ottla log dump --print-data-log --verify-only a b",
        "ottla perf produce a -n 10 -s 10 -t 5",
        "ottla perf consume a --messages 10",
        "ottla completions zsh",
    ] {
        assert!(understood(line), "{line}");
    }
    for line in [
        "ottla",
        "ottla format -c server.properties",
        "ottla format -t id --standalone --no-initial-controllers",
        "ottla topic create",
        "ottla topic create a -p 3 --replica-assignment 1",
        "ottla topic alter a",
        "ottla config describe",
        "ottla consume a --from-beginning --offset 3",
        "ottla consume a --json --format %v",
        "ottla produce a --json -K :",
        "ottla log dump",
        "ottla perf produce a -t 0",
        "ottla completions word",
    ] {
        assert!(!understood(line), "{line}");
    }
}

#[test]
fn every_shell_has_its_completions() {
    use clap::ValueEnum;
    for shell in clap_complete::Shell::value_variants() {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Arguments::command(), "ottla", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("from-beginning"), "{shell}");
    }
}
