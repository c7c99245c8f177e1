//! What was measured so far, kept in a file line by line, so that a run that is cut off loses nothing and goes on.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::work::Figure;
use crate::workspace::Outcome;

/// One run of one workload on one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The workload's name.
    pub workload: String,
    /// Which pair, from 0.
    pub pair: usize,
    /// Whose server: `ottla`, `kafka` or a rival's name; `machine` for what the machine itself can do.
    pub maker: String,
    /// The figures in the order in which they were measured.
    pub figures: Vec<(String, f64)>,
    /// Why there are none.
    pub error: Option<String>,
}

/// All runs of a measurement, in memory and in its file.
pub struct Results {
    path: PathBuf,
    /// In the order in which they were run.
    pub runs: Vec<Run>,
}

impl Results {
    /// Reads what the file holds already, or begins it anew.
    pub fn open(path: &Path, resume: bool) -> Outcome<Results> {
        let mut runs = Vec::new();
        if resume && path.exists() {
            for line in std::fs::read_to_string(path)?.lines() {
                let run: Run = serde_json::from_str(line)?;
                if run.error.is_none() {
                    runs.push(run);
                }
            }
        } else {
            path.parent().map(std::fs::create_dir_all).transpose()?;
            File::create(path)?;
        }
        Ok(Results { path: path.to_owned(), runs })
    }

    /// Whether a run is there already.
    pub fn has(&self, workload: &str, pair: usize, maker: &str) -> bool {
        self.runs.iter().any(|it| it.workload == workload && it.pair == pair && it.maker == maker)
    }

    /// Adds a run and writes it down.
    pub fn add(
        &mut self,
        workload: &str,
        pair: usize,
        maker: &str,
        outcome: Outcome<Vec<Figure>>,
    ) -> Outcome {
        let (figures, error) = match outcome {
            Ok(figures) => (figures, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let run = Run {
            workload: workload.to_owned(),
            pair,
            maker: maker.to_owned(),
            figures: figures.into_iter().map(|it| (it.name, it.value)).collect(),
            error,
        };
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        writeln!(file, "{}", serde_json::to_string(&run)?)?;
        self.runs.push(run);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::work::figure;

    #[test]
    fn what_was_measured_is_there_again_and_what_failed_is_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.jsonl");
        let mut results = Results::open(&path, false).expect("a new file");
        results.add("start", 0, "ottla", Ok(vec![figure("a, ms", 1.5)])).expect("written");
        results.add("start", 0, "kafka", Err("it failed".into())).expect("written");
        let results = Results::open(&path, true).expect("the same file");
        assert!(results.has("start", 0, "ottla") && !results.has("start", 0, "kafka"));
        assert_eq!(results.runs[0].figures, [("a, ms".to_owned(), 1.5)]);
    }
}
