//! The page: its head, the order of the sections, and what stands in for those that have nothing to show.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Subject, front, heat_map, level_table, masks, memory, table, time};

/// Nothing may be loaded: no scripts at all, and pictures only from the page itself.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

const STYLE: &str = include_str!("style.css");

/// The page and what is in it.
pub struct Page {
    /// The whole file.
    pub html: String,
    /// Ids of the sections that have something to show.
    pub sections: Vec<&'static str>,
}

struct Section {
    id: &'static str,
    title: &'static str,
    /// What it shows, or how to get it.
    body: Result<Markup, Markup>,
}

/// Renders all of it.
pub fn render(subject: &Subject) -> Page {
    let sections = sections(subject);
    let manifest = &subject.manifest;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(format!("condensec {}", env!("CARGO_PKG_VERSION")));
                title { (manifest.name) " - condensec report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.kind { "condensec report" }
                    h1 { (manifest.name) }
                    p.target {
                        "for " (manifest.target) " (" (manifest.cpu) ") by " (manifest.backend)
                    }
                    (key_figures(subject))
                    nav aria-label="sections" {
                        @for section in &sections { a href=(format!("#{}", section.id)) { (section.title) } " " }
                    }
                }
                main {
                    @for section in &sections {
                        section id=(section.id) {
                            h2 { (section.title) }
                            @match &section.body {
                                Ok(body) => { (body) }
                                Err(missing) => { div.missing { (missing) } }
                            }
                        }
                    }
                }
            }
        }
    };
    let shown = sections.iter().filter(|section| section.body.is_ok());
    Page {
        html: page.into_string() + "\n",
        sections: shown.map(|section| section.id).collect(),
    }
}

fn sections(subject: &Subject) -> Vec<Section> {
    let section = |id, title, body| Section { id, title, body };
    vec![
        section("levels", "Levels", Ok(level_table::section(subject))),
        section(
            "front",
            "Quality against time",
            front::section(subject).ok_or_else(no_front),
        ),
        section(
            "density",
            "Density",
            match subject.manifest.layers.is_empty() {
                false => Ok(heat_map::section(subject)),
                true => Err(html! { "The model has no layers with weights." }),
            },
        ),
        section("time", "Where the time goes", Ok(time::section(subject))),
        section(
            "masks",
            "Masks",
            match subject.pictures.is_empty() {
                false => Ok(masks::section(subject)),
                true => Err(html! {
                    "No layer of the model has a mask. " code { "condensec nest" } " makes a supernet of a trained model."
                }),
            },
        ),
        section("memory", "Memory", Ok(memory::section(subject))),
    ]
}

fn no_front() -> Markup {
    html! {
        "The quality of the levels is not known. These two files, given with " code { "--eval" } " and " code { "--bench" }
        ", show it here:"
        pre {
            "condensec eval MODEL --data test.npz --json > eval.json\n"
            "condensec bench MODEL --json > bench.json"
        }
    }
}

/// A name that may be broken where its parts end.
pub fn breakable(name: &str) -> Markup {
    html! {
        @for part in name.split_inclusive(['.', '/', ':', '_']) { (part) @if part.len() < name.len() { wbr; } }
    }
}

/// What one wants to know first.
fn key_figures(subject: &Subject) -> Markup {
    let manifest = &subject.manifest;
    let (low, high) = match manifest.levels.as_slice() {
        [low, .., high] => (low, high),
        [only] => (only, only),
        [] => return html! {},
    };
    let range = |low: String, high: String| match low == high {
        true => low,
        false => format!("{low} – {high}"),
    };
    let mut figures = vec![
        ("levels", manifest.levels.len().to_string()),
        (
            "density",
            range(
                format!("{:.2}", low.density),
                format!("{:.2}", high.density),
            ),
        ),
        (
            "multiply-adds",
            range(table::count(low.macs), table::count(high.macs)),
        ),
        ("weight buffer", table::bytes(manifest.bytes.weights)),
        ("state", table::bytes(manifest.state_bytes)),
    ];
    if let Some(benchmark) = &subject.results.benchmark {
        figures.push(("a switch", format!("{:.1} ns", benchmark.switch_ns)));
    }
    html! {
        dl.figures {
            @for (name, value) in figures { div { dt { (name) } dd { (value) } } }
        }
    }
}
