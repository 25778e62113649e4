//! Apache Flink, if its jars and a Java compiler are at hand: the same job in one JVM.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Case, Run, Settings};
use crate::Outcome;
use crate::process::{Process, installed};

/// How many times fewer records Flink is given, so that both run for some seconds.
pub(super) const FEWER: u64 = 4;
/// How long one job may take.
const LIMIT: Duration = Duration::from_secs(180);

/// Flink's jars and the compiled job.
#[derive(Debug)]
pub(super) struct Flink {
    class_path: String,
    dir: PathBuf,
}

impl Flink {
    /// Compiles the job; `None`, with a line that says why, if something is missing.
    pub(super) fn prepare(settings: &Settings) -> Outcome<Option<Self>> {
        let Some(jars) = &settings.flink else {
            println!(
                "Flink is left out: --flink names no directory of jars; pip download --no-deps \
                 apache-flink-libraries==2.3.0, unzip it, and name its pyflink/lib"
            );
            return Ok(None);
        };
        if !installed("javac") || !jars.is_dir() {
            println!(
                "Flink is left out: it needs a JDK (javac) and {}",
                jars.display()
            );
            return Ok(None);
        }
        let dir = settings.dir.canonicalize()?.join("bench-flink");
        std::fs::create_dir_all(&dir)?;
        let jars = format!("{}/*", jars.canonicalize()?.display());
        let compiled = Command::new("javac")
            .args(["-cp", &jars, "-d"])
            .arg(&dir)
            .arg(&settings.flink_job)
            .arg(settings.flink_job.with_file_name("Files.java"))
            .stdout(Stdio::null())
            .status()?;
        if !compiled.success() {
            println!(
                "Flink is left out: {} doesn't compile",
                settings.flink_job.display()
            );
            return Ok(None);
        }
        Ok(Some(Self {
            class_path: format!("{}:{jars}", dir.display()),
            dir,
        }))
    }

    /// Runs one case to its end.
    pub(super) fn count(&self, case: Case, records: u64) -> Outcome<Run> {
        let checkpoints = self.dir.join("checkpoints");
        let arguments = [
            records.to_string(),
            case.keys.to_string(),
            case.parallelism.to_string(),
            "true".to_owned(),
            case.checkpoints_ms.unwrap_or(0).to_string(),
            checkpoints.display().to_string(),
        ];
        let run = self.run("Count", &arguments, records);
        std::fs::remove_dir_all(&checkpoints).ok();
        run
    }

    /// The job over files, into files.
    pub(super) fn files(&self, input: &(PathBuf, u64), parallelism: u32) -> Outcome<Run> {
        let out = self.dir.join("out");
        std::fs::remove_dir_all(&out).ok();
        let arguments = [
            input.0.display().to_string(),
            out.display().to_string(),
            input.1.to_string(),
            parallelism.to_string(),
        ];
        self.run("Files", &arguments, input.1)
    }

    fn run(&self, class: &str, arguments: &[String], records: u64) -> Outcome<Run> {
        let log = self.dir.join("run.log");
        std::fs::remove_file(&log).ok();
        let mut command = vec![
            "java".to_owned(),
            "-Xmx2g".to_owned(),
            "-cp".to_owned(),
            self.class_path.clone(),
            class.to_owned(),
        ];
        command.extend_from_slice(arguments);
        let mut process = Process::start(&command, &[], &log)?;
        let begun = Instant::now();
        let mut memory = 0;
        while !process.ended() {
            if begun.elapsed() > LIMIT {
                return Err("Flink's job takes too long".into());
            }
            memory = memory.max(process.peak_bytes());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let said = std::fs::read_to_string(&log)?;
        let seconds = said.lines().find_map(|line| line.strip_prefix("seconds "));
        let seconds = seconds.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        let seconds = seconds.ok_or_else(|| format!("Flink failed: see {}", log.display()))?;
        Ok(Run {
            records,
            seconds,
            memory,
            checkpoints: None,
        })
    }
}
