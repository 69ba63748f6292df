//! Traces: how fast a machine is over time.
//!
//! A CSV file with a header, `#` for comments, and a row for every moment at which something changes:
//!
//! ```text
//! time_ms,frequency_khz,slowdown
//! 0,2400000,1
//! 1500,1800000,1
//! 4000,1800000,1.3
//! 9000,1800000,1.3
//! ```
//! From `time_ms` on, the clock runs at `frequency_khz`, and runs take `slowdown` times as long as the clock alone
//! explains (1 where the column is left out). The governor may read the former, not the latter. The last row
//! only says when the trace ends.

use std::path::Path;

use condensec_ir::Diagnostic;

use crate::driver::read_bytes;
use crate::report::Failure;

/// Traces that need no file, made by `tests/bench/make_traces.py`.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("governor-steps", include_str!("traces/governor-steps.csv")),
    ("migration", include_str!("traces/migration.csv")),
    ("neighbour", include_str!("traces/neighbour.csv")),
    ("thermal", include_str!("traces/thermal.csv")),
];

/// How fast a machine is over time, piecewise constant.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Moments at which something changes, in order; the first is the beginning.
    points: Vec<Point>,
    end_ms: f64,
}

/// The machine from a moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The moment.
    pub time_ms: f64,
    /// Frequency of the clock.
    pub khz: f64,
    /// Factor on run times that no frequency explains.
    pub slow_down: f64,
}

impl Point {
    fn speed(&self) -> f64 {
        self.khz / self.slow_down
    }
}

impl Trace {
    /// The trace of a file.
    ///
    /// # Errors
    /// Those of [`read_bytes`], or `bad-trace` for every line that is no row.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = read_bytes(path)?;
        let text = String::from_utf8_lossy(&bytes);
        Self::parse(&text, &path.display().to_string())
    }

    /// The built-in trace `name`.
    pub fn built_in(name: &str) -> Option<Self> {
        let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Some(Self::parse(text, name).expect("built-in traces are right"))
    }

    /// The trace of a CSV text; `file` names it in diagnostics.
    ///
    /// # Errors
    /// `bad-trace` for every line that is no row.
    pub fn parse(text: &str, file: &str) -> Result<Self, Failure> {
        /// Nobody reads more.
        const MOST_DIAGNOSTICS: usize = 10;

        let bad = |line: usize, message: String| {
            let line = u32::try_from(line + 1).unwrap_or(u32::MAX);
            Diagnostic::error("bad-trace", message)
                .at_file(file)
                .at_position(line, 1)
        };
        let lines = text.lines().enumerate();
        let mut lines = lines
            .map(|(number, line)| (number, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let columns = match lines.next() {
            Some((number, header)) => Columns::of(header).map_err(|what| bad(number, what))?,
            None => return Err(bad(0, "the trace is empty".into()).into()),
        };
        let mut points: Vec<Point> = Vec::new();
        let mut faults = Vec::new();
        for (number, line) in lines {
            match columns.row(line, points.last()) {
                Ok(point) => points.push(point),
                Err(what) => faults.push(bad(number, what)),
            }
            if faults.len() == MOST_DIAGNOSTICS {
                break;
            }
        }
        if !faults.is_empty() {
            return Err(faults.into());
        }
        match points.pop() {
            Some(last) if !points.is_empty() => Ok(Self {
                points,
                end_ms: last.time_ms,
            }),
            _ => {
                let n_lines = text.lines().count().saturating_sub(1);
                let message = "a trace has two rows at least: the last one ends it";
                Err(bad(n_lines, message.into()).into())
            }
        }
    }

    /// Milliseconds from the first row to the last.
    pub fn duration_ms(&self) -> f64 {
        self.end_ms - self.points[0].time_ms
    }

    /// The moment of the first row.
    pub fn begin_ms(&self) -> f64 {
        self.points[0].time_ms
    }

    /// The points, the first at the beginning.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Index of the point that holds at `time_ms`.
    pub fn at(&self, time_ms: f64) -> usize {
        let after = self
            .points
            .partition_point(|point| point.time_ms <= time_ms);
        after.saturating_sub(1)
    }

    /// The highest frequency.
    pub fn top_khz(&self) -> f64 {
        self.points
            .iter()
            .map(|point| point.khz)
            .fold(0.0, f64::max)
    }

    /// How many times faster the machine is when nothing slows it down than when most does.
    pub fn range(&self) -> f64 {
        let slowest = self.points.iter().map(Point::speed);
        self.top_khz() / slowest.fold(f64::INFINITY, f64::min)
    }

    /// The same course with another top frequency and another range: what was in proportion stays so,
    /// on a logarithmic scale.
    #[must_use]
    pub fn scaled(&self, top_khz: f64, range: f64) -> Self {
        let (top, own_range) = (self.top_khz(), self.range());
        let exponent = match own_range > 1.0 {
            true => range.ln() / own_range.ln(),
            false => 1.0,
        };
        let scale = |point: &Point| Point {
            time_ms: point.time_ms,
            khz: top_khz * (point.khz / top).powf(exponent),
            slow_down: point.slow_down.powf(exponent),
        };
        Self {
            points: self.points.iter().map(scale).collect(),
            end_ms: self.end_ms,
        }
    }
}

/// Which column is what.
struct Columns {
    time: usize,
    frequency: usize,
    slow_down: Option<usize>,
    n: usize,
}

impl Columns {
    fn of(header: &str) -> Result<Self, String> {
        let names: Vec<&str> = header.split(',').map(str::trim).collect();
        let find = |name: &str| names.iter().position(|other| *other == name);
        let need = |name: &str| {
            let expected = "time_ms, frequency_khz and, maybe, slowdown";
            find(name).ok_or_else(|| {
                format!("no column {name} in the header {header:?}, expected {expected}")
            })
        };
        Ok(Self {
            time: need("time_ms")?,
            frequency: need("frequency_khz")?,
            slow_down: find("slowdown"),
            n: names.len(),
        })
    }

    fn row(&self, line: &str, before: Option<&Point>) -> Result<Point, String> {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if cells.len() != self.n {
            return Err(format!("{} cells, the header has {}", cells.len(), self.n));
        }
        let number = |what: &str, at: usize| match cells[at].parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(format!("{what} {:?} is no number", cells[at])),
        };
        let positive = |what: &str, at: usize| match number(what, at)? {
            value if value > 0.0 => Ok(value),
            value => Err(format!("{what} {value} is not above 0")),
        };
        let time_ms = number("time_ms", self.time)?;
        if let Some(before) = before.filter(|before| time_ms <= before.time_ms) {
            let before = before.time_ms;
            return Err(format!("time_ms {time_ms} is not after {before}"));
        }
        Ok(Point {
            time_ms,
            khz: positive("frequency_khz", self.frequency)?,
            slow_down: match self.slow_down {
                Some(at) => positive("slowdown", at)?,
                None => 1.0,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_until_the_next_one() {
        let text = "# board\n time_ms, frequency_khz\n0,2000\n\n10,1000\n30,1000\n";
        let trace = Trace::parse(text, "t").unwrap();
        assert_eq!(trace.duration_ms(), 30.0);
        let khz = |time| trace.points()[trace.at(time)].khz;
        assert_eq!(
            (khz(0.0), khz(9.9), khz(10.0), khz(99.0)),
            (2000.0, 2000.0, 1000.0, 1000.0)
        );
        assert_eq!(trace.range(), 2.0);
    }

    #[test]
    fn scaling_keeps_the_course() {
        let text = "time_ms,frequency_khz,slowdown\n0,4000,1\n1,2000,1\n2,4000,4\n3,1,1\n";
        let trace = Trace::parse(text, "t").unwrap().scaled(1000.0, 16.0);
        let points: Vec<(f64, f64)> = trace
            .points()
            .iter()
            .map(|p| (p.khz, p.slow_down))
            .collect();
        assert_eq!(points, [(1000.0, 1.0), (250.0, 1.0), (1000.0, 16.0)]);
    }

    #[test]
    fn every_bad_line_is_named() {
        let check = |text: &str, expected: &[(u32, &str)]| {
            let Failure(found) = Trace::parse(text, "t.csv").unwrap_err();
            let found: Vec<(u32, &str)> = found
                .iter()
                .map(|d| (d.at.position.unwrap().0, d.message.as_str()))
                .collect();
            assert_eq!(found, expected);
        };
        check(
            "time_ms,frequency_khz\n0,5\n# no row\n1,fast\n2,0\n0,7\n8\n",
            &[
                (4, "frequency_khz \"fast\" is no number"),
                (5, "frequency_khz 0 is not above 0"),
                (6, "time_ms 0 is not after 0"),
                (7, "1 cells, the header has 2"),
            ],
        );
        check("", &[(1, "the trace is empty")]);
        check(
            "time,khz\n",
            &[(
                1,
                "no column time_ms in the header \"time,khz\", expected time_ms, frequency_khz and, maybe, slowdown",
            )],
        );
        check(
            "time_ms,frequency_khz\n0,5\n",
            &[(2, "a trace has two rows at least: the last one ends it")],
        );
    }

    #[test]
    fn built_in_traces_have_names() {
        for (name, _) in BUILT_IN {
            let trace = Trace::built_in(name).unwrap();
            assert!(trace.range() > 3.0, "{name}: {}", trace.range());
            assert!(trace.duration_ms() > 60_000.0);
        }
        assert_eq!(Trace::built_in("none"), None);
    }
}
