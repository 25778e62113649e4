//! A program whose operators misbehave, each in its way, for the tests: one never comes back, one
//! panics, one answers an error, one keeps too much.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use regent::arrow::array::{AsArray, types::Int64Type};
use regent::{MapState, Operator, Output, Result, Rows, Setup};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Until {
    exists: PathBuf,
}

/// Doesn't come back from its first row until a file is there, whoever asks it to end.
struct Stubborn {
    until: Until,
}

impl Operator for Stubborn {
    #[expect(
        clippy::disallowed_methods,
        reason = "code that blocks, and isn't asked for a bound, is what is tried"
    )]
    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        while !self.until.exists.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        out.emit(rows.columns().to_vec())
    }
}

/// Panics at the row 57.
struct Impossible;

impl Operator for Impossible {
    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        let values = rows.column(0).as_primitive::<Int64Type>().values();
        assert!(!values.contains(&57), "row 57 is impossible");
        out.emit(rows.columns().to_vec())
    }
}

/// Answers an error at the row 57.
struct Refusing;

impl Operator for Refusing {
    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        let values = rows.column(0).as_primitive::<Int64Type>().values();
        if values.contains(&57) {
            let number = "57th".parse::<i64>();
            number.map_err(|cause| format!("row 57 is not wanted: {cause}"))?;
        }
        out.emit(rows.columns().to_vec())
    }
}

/// Keeps a kilobyte for each key.
struct Hoard {
    texts: MapState<i64, String>,
}

impl Operator for Hoard {
    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        let mut texts = self.texts.of(rows);
        for row in 0..rows.num_rows() {
            texts.at(row).insert(0, "x".repeat(1_000));
        }
        out.emit(rows.columns().to_vec())
    }
}

/// What a later version of the program would have in its place.
struct LaterHoard(Hoard);

impl Operator for LaterHoard {
    const VERSION: u32 = 2;

    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        self.0.process(rows, out)
    }
}

fn hoard(setup: &mut Setup) -> Result<Hoard> {
    let texts = setup.map("texts")?;
    Ok(Hoard { texts })
}

fn main() -> ExitCode {
    // Stands for another build of the program.
    let later = std::env::var_os("HOARD_VERSION").is_some_and(|version| version == "2");
    regent::main(|registry| {
        registry.operator("stubborn", |setup: &mut Setup| {
            let until = setup.config()?;
            Ok(Stubborn { until })
        });
        registry.operator("impossible", |_: &mut Setup| Ok(Impossible));
        registry.operator("refusing", |_: &mut Setup| Ok(Refusing));
        if later {
            registry.operator("hoard", |setup: &mut Setup| hoard(setup).map(LaterHoard));
        } else {
            registry.operator("hoard", hoard);
        }
    })
}
