//! The picture of a simulation: the machine's speed, run times, and levels over time, as SVG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::policies::{POLICIES, Policy, Run};
use super::replay::Replay;
use super::trace::Trace;

const SIZE: (u32, u32) = (1200, 900);

/// Times of a policy are drawn at so many places at most, lowest and highest of each.
const MOST_PLACES: usize = 1000;

/// Colours that people who see few of them tell apart (Okabe and Ito).
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const RED: RGBColor = RGBColor(213, 94, 0);
const GREY: RGBColor = RGBColor(150, 150, 150);

/// A line of a panel.
struct Line {
    label: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// The picture; `runs` are those of [`POLICIES`].
pub fn draw(title: &str, trace: &Trace, replay: &Replay<'_>, runs: &[Vec<Run>]) -> String {
    let seconds: Vec<f64> = replay.frames().iter().map(|f| f.start_ms / 1e3).collect();
    let of = |policy: Policy| {
        let at = POLICIES.iter().position(|other| *other == policy);
        &runs[at.expect("every policy played")]
    };
    let times = |policy: Policy, label: &'static str, colour: RGBColor| Line {
        label,
        colour,
        points: thin(&seconds, of(policy).iter().map(|run| run.ms)),
    };
    let levels = |policy: Policy, label: &'static str, colour: RGBColor| Line {
        label,
        colour,
        points: thin(&seconds, of(policy).iter().map(|run| run.level)),
    };
    let end = (trace.begin_ms() + trace.duration_ms()) / 1e3;
    let deadline = replay.deadline_ms();
    let speed = |label: &'static str, colour: RGBColor, mhz: &dyn Fn(usize) -> f64| {
        let points = trace.points();
        let mut line = Vec::new();
        for (index, point) in points.iter().enumerate() {
            let until = points.get(index + 1).map_or(end, |next| next.time_ms / 1e3);
            line.extend([(point.time_ms / 1e3, mhz(index)), (until, mhz(index))]);
        }
        Line {
            label,
            colour,
            points: line,
        }
    };
    let point = |index: usize| trace.points()[index];
    let panels = [
        (
            format!("{title}: MHz"),
            vec![
                speed("frequency", GREY, &|i| point(i).khz / 1e3),
                speed("frequency / slow-down", GREEN, &|i| {
                    point(i).khz / point(i).slow_down / 1e3
                }),
            ],
        ),
        (
            "milliseconds of a run".to_string(),
            vec![
                times(Policy::FixedTop, "fixed-top", GREY),
                times(Policy::Reactive, "reactive", ORANGE),
                times(Policy::Governor, "governor", BLUE),
                times(Policy::Mixed, "mixed", GREEN),
                Line {
                    label: "deadline",
                    colour: RED,
                    points: vec![(trace.begin_ms() / 1e3, deadline), (end, deadline)],
                },
            ],
        ),
        (
            "level".to_string(),
            vec![
                levels(Policy::Oracle, "oracle", GREY),
                levels(Policy::Governor, "governor", BLUE),
                levels(Policy::Mixed, "mixed", GREEN),
            ],
        ),
    ];
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let areas = root.split_evenly((panels.len(), 1));
        for (area, (caption, lines)) in areas.iter().zip(&panels) {
            let x = trace.begin_ms() / 1e3..end;
            panel(area, caption, x, lines).expect("a String takes everything");
        }
        root.present().expect("a String takes everything");
    }
    svg
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Outcome<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn panel<'a>(
    area: &Area<'a>,
    caption: &str,
    x: std::ops::Range<f64>,
    lines: &[Line],
) -> Outcome<'a> {
    area.fill(&WHITE)?;
    let highest = lines.iter().flat_map(|line| &line.points);
    let highest = highest.map(|&(_, y)| y).fold(1e-9, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 18))
        .margin(8)
        .margin_right(170)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(x, 0.0..1.05 * highest)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("s")
        .draw()?;
    // The legend beside the panel, where it hides nothing.
    let (width, _) = area.dim_in_pixel();
    for (index, line) in lines.iter().enumerate() {
        chart.draw_series(LineSeries::new(line.points.iter().copied(), &line.colour))?;
        let style = ("sans-serif", 15)
            .into_text_style(area)
            .color(&line.colour)
            .pos(Pos::new(HPos::Left, VPos::Center));
        let place = (width as i32 - 160, 40 + 20 * index as i32);
        area.draw_text(line.label, &style, place)?;
    }
    Ok(())
}

/// Lowest and highest value of each of [`MOST_PLACES`] stretches of time.
fn thin(seconds: &[f64], values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    let values: Vec<f64> = values.collect();
    let stretch = seconds.len().div_ceil(MOST_PLACES).max(1);
    let stretches = seconds.chunks(stretch).zip(values.chunks(stretch));
    let extremes = stretches.flat_map(|(seconds, values)| {
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = values.iter().copied().fold(0.0, f64::max);
        [(seconds[0], lowest), (seconds[0], highest)]
    });
    extremes.collect()
}
