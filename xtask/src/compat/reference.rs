//! Where Apache Kafka and the other clients come from: laid out once by the ordinary package tools.
//!
//! Apache Kafka 4.4.0 has a broker and a Java client but no tools; those are of 4.3.1. The two class paths
//! are never mixed. Servers of earlier releases, whose directories are taken over, are laid out when a scenario asks
//! for them. Everything lies in `$OTTLA_REFERENCE_DIR`, or `reference` in cargo's target folder.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::capture::capture;
use crate::workspace::{Outcome, root};

/// The broker and the Java client to compare with.
pub const KAFKA: &str = "4.4.0";
/// The command-line tools.
pub const KAFKA_TOOLS: &str = "4.3.1";

const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
const COMPILE_LIMIT: Duration = Duration::from_secs(120);

/// The folders that hold what the scenarios run.
pub struct Reference {
    folder: PathBuf,
    target: PathBuf,
}

/// A set of jars that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassPath {
    /// The broker and the Java client, [`KAFKA`].
    Server,
    /// The tools, [`KAFKA_TOOLS`], and a broker of that release.
    Tools,
    /// The broker and the Java client of 4.0.
    Kafka40,
    /// The broker and the Java client of 3.9.
    Kafka39,
    /// The tools with Kafka Streams and its examples, [`KAFKA_TOOLS`].
    Streams,
    /// Kafka Streams and the Java client, [`KAFKA`].
    NewStreams,
}

impl ClassPath {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Tools => "tools",
            Self::Kafka40 => "kafka-4.0",
            Self::Kafka39 => "kafka-3.9",
            Self::Streams => "streams",
            Self::NewStreams => "streams-4.4",
        }
    }

    /// `group:artifact:version`, with what follows an exclamation mark left out of its own dependencies.
    fn artifacts(self) -> Vec<String> {
        match self {
            Self::Server => vec![
                format!("org.apache.kafka:kafka_2.13:{KAFKA}!kafka-tools-api"),
                format!("org.apache.kafka:kafka-server:{KAFKA}!kafka-tools-api"),
                format!("org.apache.kafka:kafka-tools-api:{KAFKA_TOOLS}"),
                "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5".to_owned(),
            ],
            Self::Tools => vec![
                format!("org.apache.kafka:kafka_2.13:{KAFKA_TOOLS}"),
                format!("org.apache.kafka:kafka-tools:{KAFKA_TOOLS}"),
                format!("org.apache.kafka:kafka-shell:{KAFKA_TOOLS}"),
                "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4".to_owned(),
            ],
            Self::Kafka40 => vec![
                "org.apache.kafka:kafka_2.13:4.0.1".to_owned(),
                "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3".to_owned(),
            ],
            Self::Kafka39 => vec![
                "org.apache.kafka:kafka_2.13:3.9.1".to_owned(),
                "org.slf4j:slf4j-reload4j:1.7.36".to_owned(),
            ],
            Self::Streams => {
                let mut artifacts = Self::Tools.artifacts();
                artifacts.push(format!("org.apache.kafka:kafka-streams:{KAFKA_TOOLS}"));
                artifacts.push(format!("org.apache.kafka:kafka-streams-examples:{KAFKA_TOOLS}"));
                artifacts
            }
            Self::NewStreams => vec![
                format!("org.apache.kafka:kafka-streams:{KAFKA}"),
                "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5".to_owned(),
            ],
        }
    }

    fn pom(self) -> String {
        let mut text = format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
             <groupId>reference</groupId><artifactId>{}</artifactId><version>1</version>\n<dependencies>\n",
            self.name()
        );
        for artifact in self.artifacts() {
            let (coordinates, excluded) = artifact.split_once('!').unwrap_or((&artifact, ""));
            let mut parts = coordinates.split(':');
            for tag in ["groupId", "artifactId", "version"] {
                let opening = if tag == "groupId" { "<dependency>" } else { "" };
                text += &format!("{opening}<{tag}>{}</{tag}>", parts.next().unwrap_or_default());
            }
            if !excluded.is_empty() {
                text += &format!(
                    "<exclusions><exclusion><groupId>org.apache.kafka</groupId>\
                     <artifactId>{excluded}</artifactId></exclusion></exclusions>"
                );
            }
            text += "</dependency>\n";
        }
        text + "</dependencies></project>\n"
    }
}

impl Reference {
    /// Lays out the class paths; what is there already stays.
    pub fn lay_out() -> Outcome<Self> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let folder =
            std::env::var_os("OTTLA_REFERENCE_DIR").map_or_else(|| target.join("reference"), PathBuf::from);
        std::fs::create_dir_all(&folder)?;
        let reference = Self { folder, target };
        need("javac", "default-jdk-headless")?;
        for class_path in [ClassPath::Server, ClassPath::Tools] {
            reference.jars(class_path)?;
        }
        Ok(reference)
    }

    /// Cargo's target folder.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The folder of a class path's jars.
    pub fn jar_folder(&self, class_path: ClassPath) -> PathBuf {
        self.folder.join(class_path.name()).join("jars")
    }

    /// Lays out the jars of one class path.
    pub fn jars(&self, class_path: ClassPath) -> Outcome {
        let folder = self.folder.join(class_path.name());
        let pom = class_path.pom();
        once(&folder, "jars", &pom, || {
            need("mvn", "maven")?;
            eprintln!("laying out the class path `{}` with Maven", class_path.name());
            let file = folder.join("pom.xml");
            std::fs::write(&file, &pom)?;
            let mut maven = Command::new("mvn");
            maven.args(["--quiet", "--batch-mode", "-f"]).arg(&file).arg("dependency:copy-dependencies");
            maven.arg(format!("-DoutputDirectory={}", folder.join("jars").display()));
            capture(&mut maven, b"", DOWNLOAD_LIMIT)?.success("Maven")?;
            Ok(())
        })
    }

    /// A `java` command with these jars, this heap and these flags, quick to start; the class follows.
    pub fn java(&self, class_path: ClassPath, heap: &str, flags: &[&str]) -> Command {
        self.java_with(class_path, heap, flags, &[])
    }

    /// The command that runs a server, with more jars than its own; the class follows.
    pub fn server(&self, class_path: ClassPath, flags: &[&str], more_jars: Option<&Path>) -> Command {
        let mut command = self.java_with(class_path, "512m", flags, &[]);
        if let Some(more) = more_jars {
            // The last class path counts.
            let own = self.jar_folder(class_path).join("*");
            command.arg("-cp").arg(format!("{}:{}", own.display(), more.join("*").display()));
        }
        command
    }

    /// The folder with the jar of Kafka's `LocalTieredStorage`, which is a class for tests of [`KAFKA_TOOLS`], and the
    /// jar of that release where it finds what [`KAFKA`] has elsewhere.
    pub fn tiered_storage(&self) -> Outcome<PathBuf> {
        let folder = self.folder.join("tiered-storage");
        let artifacts = ["kafka-storage", "kafka-clients"].map(|it| {
            let kind = if it == "kafka-storage" { ":jar:test" } else { "" };
            format!("org.apache.kafka:{it}:{KAFKA_TOOLS}{kind}")
        });
        once(&folder, "jars", &artifacts.join("\n"), || {
            need("mvn", "maven")?;
            for artifact in &artifacts {
                let mut maven = Command::new("mvn");
                maven
                    .args(["--quiet", "--batch-mode", "dependency:copy"])
                    .arg(format!("-Dartifact={artifact}"));
                maven.arg(format!("-DoutputDirectory={}", folder.join("jars").display()));
                capture(&mut maven, b"", DOWNLOAD_LIMIT)?.success("Maven")?;
            }
            Ok(())
        })?;
        Ok(folder.join("jars"))
    }

    fn java_with(&self, class_path: ClassPath, heap: &str, flags: &[&str], programs: &[PathBuf]) -> Command {
        let jars = self.folder.join(class_path.name()).join("jars").join("*");
        let folders: Vec<_> = programs.iter().chain([&jars]).map(|it| it.display().to_string()).collect();
        let mut command = Command::new("java");
        command.arg(format!("-Xmx{heap}")).args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]).args(flags);
        command.args(["-cp", &folders.join(":")]);
        command
    }

    /// A `java` command for one of the programs in `xtask/java`, compiled when it changed.
    pub fn program(&self, class_path: ClassPath, name: &str, flags: &[&str]) -> Outcome<Command> {
        self.program_among(class_path, name, &[], flags)
    }

    /// The same with others of these programs at hand.
    pub fn program_among(
        &self,
        class_path: ClassPath,
        name: &str,
        others: &[&str],
        flags: &[&str],
    ) -> Outcome<Command> {
        let mut folders = vec![self.classes(class_path, name)?];
        for other in others {
            folders.push(self.classes(class_path, other)?);
        }
        let mut command = self.java_with(class_path, "512m", flags, &folders);
        command.arg(name);
        Ok(command)
    }

    /// The folder with the classes of one of the programs in `xtask/java`.
    fn classes(&self, class_path: ClassPath, name: &str) -> Outcome<PathBuf> {
        let source = root().join("xtask/java").join(format!("{name}.java"));
        let text = std::fs::read_to_string(&source)?;
        let folder = self.folder.join("programs").join(class_path.name()).join(name);
        once(&folder, "classes", &format!("{}\n{text}", class_path.pom()), || {
            let jars = self.folder.join(class_path.name()).join("jars").join("*");
            let mut compiler = Command::new("javac");
            compiler.args(["-nowarn", "-encoding", "UTF-8", "-proc:none", "-d"]).arg(folder.join("classes"));
            compiler.arg("-cp").arg(jars).arg(&source);
            capture(&mut compiler, b"", COMPILE_LIMIT)?.success("javac")?;
            Ok(())
        })?;
        Ok(folder.join("classes"))
    }

    /// A Python with these packages.
    pub fn python(&self, name: &str, packages: &[&str]) -> Outcome<PathBuf> {
        let folder = self.folder.join("python").join(name);
        once(&folder, "environment", &packages.join("\n"), || {
            eprintln!("installing {} for Python", packages.join(", "));
            let environment = folder.join("environment");
            let mut python = Command::new("python3");
            let made = capture(python.args(["-m", "venv"]).arg(&environment), b"", DOWNLOAD_LIMIT)?;
            if made.code != Some(0) {
                apt("python3-venv")?;
                let mut python = Command::new("/usr/bin/python3");
                capture(python.args(["-m", "venv"]).arg(&environment), b"", DOWNLOAD_LIMIT)?
                    .success("venv")?;
            }
            let mut pip = Command::new(environment.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages);
            capture(&mut pip, b"", DOWNLOAD_LIMIT)?.success("pip")?;
            Ok(())
        })?;
        Ok(folder.join("environment/bin/python"))
    }

    /// A folder whose `node_modules` holds these packages.
    pub fn node_modules(&self, name: &str, packages: &[&str]) -> Outcome<PathBuf> {
        let folder = self.folder.join("node").join(name);
        once(&folder, "node_modules", &packages.join("\n"), || {
            need("npm", "npm")?;
            eprintln!("installing {} for Node", packages.join(", "));
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&folder);
            capture(npm.args(packages), b"", DOWNLOAD_LIMIT)?.success("npm")?;
            Ok(())
        })?;
        Ok(folder)
    }

    /// The binary of the Go module in `xtask/clients/<name>`, built when a file of it changed.
    pub fn go_program(&self, name: &str) -> Outcome<PathBuf> {
        let source = root().join("xtask/clients").join(name);
        let mut text = String::new();
        for file in ["go.mod", "go.sum", "main.go", "groups.go"] {
            text += &std::fs::read_to_string(source.join(file))?;
        }
        let folder = self.folder.join("go").join(name);
        once(&folder, "program", &text, || {
            need("go", "golang-go")?;
            eprintln!("building the Go program `{name}`");
            let mut go = Command::new("go");
            go.args(["build", "-o"]).arg(folder.join("program")).arg(".").current_dir(&source);
            capture(&mut go, b"", DOWNLOAD_LIMIT)?.success("go build")?;
            Ok(())
        })?;
        Ok(folder.join("program"))
    }
}

/// Makes `folder/product` with `make` unless it was made before from the same `recipe`.
fn once(folder: &Path, product: &str, recipe: &str, make: impl FnOnce() -> Outcome) -> Outcome {
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    let stamp = format!("{:016x}", hasher.finish());
    let stamped = folder.join("made-from");
    if std::fs::read_to_string(&stamped).is_ok_and(|it| it == stamp) {
        return Ok(());
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    make()?;
    if !folder.join(product).exists() {
        return Err(format!("{} was not made", folder.join(product).display()).into());
    }
    std::fs::write(stamped, stamp)?;
    Ok(())
}

/// Fails unless `program` is there or Debian's `package` brings it.
pub fn need(program: &str, package: &str) -> Outcome {
    if on_path(program) {
        return Ok(());
    }
    apt(package)?;
    if on_path(program) {
        return Ok(());
    }
    Err(format!("the package {package} was installed but there is still no `{program}`").into())
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|it| it.join(program).is_file()))
}

fn apt(package: &str) -> Outcome {
    eprintln!("installing the package {package}");
    let run = |arguments: &[&str]| -> Outcome<String> {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        capture(&mut apt, b"", DOWNLOAD_LIMIT)?.success("apt-get")
    };
    let installed = run(&["update"]).and_then(|_| run(&["install", "--yes", package]));
    installed.map_err(|error| format!("{package} is needed and cannot be installed here: {error}"))?;
    Ok(())
}
