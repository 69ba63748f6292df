//! `condensec report`: the page says what the files say, loads nothing, and shows in a browser.

use condensec::frontend::onnx::proto::decode_model;
use harness::chromium::Chromium;
use harness::skip;
use scraper::{ElementRef, Html, Selector};
use serde_json::{Value, json};

use crate::folder::{Folder, keys};
use crate::models;

/// A page as it was written.
struct Page {
    text: String,
    html: Html,
}

impl Page {
    #[track_caller]
    fn read(folder: &Folder, name: &str) -> Page {
        let text = String::from_utf8(folder.read(name)).unwrap();
        let html = Html::parse_document(&text);
        assert!(html.errors.is_empty(), "{:?}", html.errors);
        Page { text, html }
    }

    fn all(&self, selector: &str) -> Vec<ElementRef<'_>> {
        let selector = Selector::parse(selector).unwrap();
        self.html.select(&selector).collect()
    }

    fn words(&self, selector: &str) -> Vec<String> {
        let found = self.all(selector).into_iter();
        found
            .map(|element| element.text().collect::<String>().trim().to_string())
            .collect()
    }
}

/// What `eval` would print for the net.
fn evaluation() -> Value {
    let level = |level: usize, name: &str, top1: f64| {
        json!({
            "level": level, "name": name, "density": (level + 1) as f64 / 3.0, "macs": 864 * (level + 1) + 12,
            "weight_bytes": 100, "top1": top1, "top5": 1.0, "min_ms": 0.5 * (level + 1) as f64,
        })
    };
    json!({"samples": 200, "levels": [level(0, "tiny", 0.8125), level(1, "half", 0.875), level(2, "full", 0.9)]})
}

/// What `bench` would print for it.
fn benchmark() -> Value {
    let level = |level: usize, name: &str| {
        let ms = (level + 1) as f64;
        json!({
            "level": level, "name": name, "density": ms / 3.0, "macs": 1, "min_ms": ms, "median_ms": 1.25 * ms,
            "p95_ms": 1.5 * ms, "first_after_switch_ms": 1.3 * ms, "runs": 9,
        })
    };
    json!({"threads": 1, "switch_ns": 7.5, "levels": [level(0, "tiny"), level(1, "half"), level(2, "full")]})
}

fn with_results() -> Folder {
    let folder = Folder::with_net();
    folder.write("eval.json", evaluation().to_string());
    folder.write("bench.json", benchmark().to_string());
    folder
}

const ALL: &str = "report net.onnx --eval eval.json --bench bench.json -o page.html";

#[test]
fn the_page_has_every_section_and_the_numbers_of_the_files() {
    let folder = with_results();
    let written = folder.condensec(&format!("{ALL} --json")).json();
    assert_eq!(
        keys(&written),
        ["output", "bytes", "name", "levels", "sections", "layers"]
    );
    let sections = ["levels", "front", "density", "time", "masks", "memory"];
    assert_eq!(written["sections"], json!(sections));
    assert_eq!(written["layers"], json!(["conv"]));
    let page = Page::read(&folder, "page.html");
    assert_eq!(written["bytes"], page.text.len());
    for section in sections {
        assert_eq!(
            page.all(&format!("section#{section} h2")).len(),
            1,
            "{section}"
        );
    }
    assert!(page.all(".missing").is_empty());
    // Every plot has a description, twice, and its numbers in a table of the same section.
    for section in ["front", "time", "memory"] {
        let plots = page.all(&format!("#{section} [role=img][aria-label] > svg"));
        assert_eq!(plots.len(), 2, "{section}");
        assert!(!page.all(&format!("#{section} table")).is_empty());
    }
    assert_eq!(
        page.words("#front tbody tr > *"),
        [
            "L0", "1.250", "81.25", "L1", "2.500", "87.50", "L2", "3.750", "90.00"
        ]
    );

    // What the manifest says, the page says.
    folder.condensec("net.onnx -o out").success();
    let manifest: Value = serde_json::from_slice(&folder.read("out/net.json")).unwrap();
    let bytes = |key: &str| manifest["bytes"][key].as_u64().unwrap();
    let parts = &manifest["table_parts"];
    let sum: u64 = ["lists", "steps", "descriptor"]
        .iter()
        .map(|key| parts[*key].as_u64().unwrap())
        .sum();
    assert_eq!(sum, bytes("tables"));
    let memory = page.words("#memory table.names tbody tr > :nth-child(2)");
    let memory: Vec<u64> = memory.iter().map(|cell| cell.parse().unwrap()).collect();
    let expected = [
        bytes("weights"),
        bytes("indices"),
        parts["lists"].as_u64().unwrap(),
        parts["steps"].as_u64().unwrap(),
        parts["descriptor"].as_u64().unwrap(),
        bytes("code"),
        manifest["state_bytes"].as_u64().unwrap(),
    ];
    assert_eq!(memory, expected);
    let layers = manifest["layers"].as_array().unwrap().iter();
    let densities: Vec<String> = layers
        .chain([&json!({"per_level": manifest["levels"]})])
        .flat_map(|layer| layer["per_level"].as_array().unwrap().clone())
        .map(|level| format!("{:.3}", level["density"].as_f64().unwrap()))
        .collect();
    assert_eq!(page.words("td.d"), densities);

    // The library's own page differs in one sentence.
    folder
        .condensec(&format!("{ALL} --library out").replace("page", "library"))
        .success();
    let library = Page::read(&folder, "library.html");
    assert_eq!(library.words("td, th"), page.words("td, th"));
    assert!(library.text.contains("As in the library's manifest."));
}

#[test]
fn what_is_missing_is_named_with_its_command() {
    let folder = Folder::with_net();
    let said = folder.condensec("report net.onnx").success().stdout;
    assert!(said.starts_with("net.report.html ("), "{said}");
    let page = Page::read(&folder, "net.report.html");
    let missing = page.words("#front .missing").concat();
    assert!(
        missing.contains("condensec eval MODEL --data test.npz --json > eval.json"),
        "{missing}"
    );
    assert!(
        page.words("#time code")
            .contains(&"--bench bench.json".to_string())
    );
    // A network without masks has a page, too.
    folder.write_model("sum.onnx", &models::two_inputs());
    let written = folder.condensec("report sum.onnx --json").json();
    assert_eq!(written["sections"], json!(["levels", "time", "memory"]));
    let page = Page::read(&folder, "sum.report.html");
    assert_eq!(page.all(".missing").len(), 3);
    folder.write("net.cir", models::TEXT);
    let written = folder.condensec("report net.cir --json").json();
    assert_eq!(written["layers"].as_array().unwrap().len(), 1);
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    let folder = with_results();
    folder.condensec(ALL).success();
    let first = folder.read("page.html");
    folder.condensec(ALL).success();
    assert!(first == folder.read("page.html"));
}

#[test]
fn errors_stand_in_for_accuracy_and_levels_may_be_left_out() {
    let folder = with_results();
    let mut evaluation = evaluation();
    for level in evaluation["levels"].as_array_mut().unwrap() {
        let level = level.as_object_mut().unwrap();
        level.retain(|key, _| !key.starts_with("top"));
        level.insert("max_abs_err".into(), json!(0.5));
        level.insert("mean_abs_err".into(), json!(0.125));
    }
    folder.write("eval.json", evaluation.to_string());
    let mut benchmark = benchmark();
    benchmark["levels"].as_array_mut().unwrap().remove(1);
    folder.write("bench.json", benchmark.to_string());
    folder.condensec(ALL).success();
    let page = Page::read(&folder, "page.html");
    assert_eq!(
        page.words("#front tbody tr > *"),
        ["L0", "1.250", "1.250e-1", "L2", "3.750", "1.250e-1"]
    );
}

#[test]
fn planned_levels_stand_beside_uniform_ones() {
    let folder = with_results();
    let level = |(level, name): (usize, &str)| {
        let n = (level + 1) as f64;
        json!({
            "level": level, "name": name, "density": n / 3.0, "macs": 1, "cost": 1e6 * n, "loss": 1.0 / n, "top1": 0.3 * n,
        })
    };
    let levels: Vec<Value> = ["tiny", "half", "full"]
        .into_iter()
        .enumerate()
        .map(level)
        .collect();
    let plan = json!({
        "output": "planned.onnx", "bytes": 9, "samples": 9, "seconds": 0.5, "cost": "cycles", "levels": levels,
        "uniform": levels[1..], "layers": [{"name": "w", "levels": [0, 1, 2]}],
    });
    folder.write("plan.json", plan.to_string());
    folder
        .condensec("report net.onnx --plan plan.json -o page.html")
        .success();
    let page = Page::read(&folder, "page.html");
    let rows = page.words("#front tbody tr");
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0], "uniformhalf2.00 M60.00");
}

#[test]
fn nothing_is_loaded_and_names_are_only_names() {
    let folder = with_results();
    let hostile =
        "</style><script src=//evil.example>alert(1)</script><img src=x onerror=alert(1)>\"' & ";
    let mut model = models::supernet();
    let graph = model.graph.as_mut().unwrap();
    graph.node[0].name = Some(hostile.into());
    model.set_metadata(
        "condense.level_names",
        format!("tiny,half{hostile},full").replace(", ", ","),
    );
    folder.write_model("net.onnx", &model);
    assert!(decode_model(&folder.read("net.onnx")).is_ok());
    for page in [
        folder.condensec("report net.onnx -o page.html").success(),
        folder
            .condensec("report net.onnx -o page.html --layer conv.weight")
            .success(),
    ] {
        assert_eq!(page.stderr.matches("error").count(), 0, "{page:?}");
        let page = Page::read(&folder, "page.html");
        assert!(
            page.all("script, link, iframe, object, [onerror], base, form")
                .is_empty()
        );
        for image in page.all("img") {
            let source = image.value().attr("src").unwrap();
            assert!(source.starts_with("data:image/png;base64,"), "{source}");
            assert!(!image.value().attr("alt").unwrap().is_empty());
        }
        for link in page.all("[href]") {
            assert!(link.value().attr("href").unwrap().starts_with('#'));
        }
        assert!(!page.text.contains("http:") && !page.text.contains("https:"));
        let style = page.words("style").concat();
        assert!(!style.contains("url(") && !style.contains("@import"));
        assert!(
            page.words("#density tbody th")
                .contains(&hostile.trim().to_string())
        );
        assert!(
            page.words("#masks figcaption b")
                .contains(&hostile.trim().to_string())
        );
        let policy = page.all("meta[http-equiv=Content-Security-Policy]");
        let policy = policy[0].value().attr("content").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
    }
}

#[test]
fn the_picture_is_the_mask() {
    let folder = Folder::with_net();
    folder.condensec("report net.onnx").success();
    let page = Page::read(&folder, "net.report.html");
    let images = page.all("#masks img");
    assert_eq!(images.len(), 1);
    let alt = images[0].value().attr("alt").unwrap();
    assert_eq!(
        alt,
        "Mask of conv; kept blocks: L0 33.3 %, L1 66.7 %, L2 100.0 %"
    );
    let caption = page.words("#masks figcaption").concat();
    let expected = "conv (weight conv.weight, 4x2x3x3, blocks of 4x1x1x1). 1 row of 18 blocks";
    assert!(caption.starts_with(expected), "{caption}");
}

/// Refused with `code`, and nothing written; returns what was said.
#[track_caller]
fn refused(folder: &Folder, args: &str, code: &str) -> String {
    let before = folder.list(".");
    let said = folder.condensec(args).refused();
    assert!(said.contains(&format!("error[{code}]: ")), "{args}: {said}");
    assert_eq!(folder.list("."), before, "{args}");
    said
}

#[test]
fn results_of_something_else_are_refused() {
    let folder = with_results();
    let change = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut evaluation = evaluation();
        change(evaluation["levels"].as_array_mut().unwrap());
        evaluation.to_string()
    };
    let other_name = change(&|levels| levels[1]["name"] = json!("medium"));
    let other_density = change(&|levels| levels[1]["density"] = json!(0.5));
    let fewer = change(&|levels| levels.truncate(2));
    let more = change(&|levels| {
        levels.push(json!({
            "level": 3, "name": "x", "density": 1.0, "macs": 1, "weight_bytes": 1, "top1": 1.0, "top5": 1.0, "min_ms": 1.0,
        }))
    });
    let twice = change(&|levels| levels[1] = levels[0].clone());
    let negative = change(&|levels| levels[1]["top1"] = json!(-1.0));
    let huge = change(&|levels| levels[1]["min_ms"] = json!("1"));
    for (text, code, expected) in [
        (
            "garbage",
            "bad-results",
            "not what condensec eval --json prints: ",
        ),
        ("{}", "bad-results", "missing field `samples`"),
        (
            "[1]",
            "bad-results",
            "not what condensec eval --json prints",
        ),
        ("", "empty-file", "eval.json is empty"),
        (
            &benchmark().to_string(),
            "bad-results",
            "not what condensec eval --json prints",
        ),
        (
            &other_name,
            "other-results",
            "L1 is called \"medium\" in the file, \"half\" in the model",
        ),
        (
            &other_density,
            "other-results",
            "L1 has density 0.5 in the file, 0.66",
        ),
        (
            &fewer,
            "other-results",
            "the file has 2 levels, the model 3",
        ),
        (
            &more,
            "other-results",
            "the file has a level L3, the model 3 levels",
        ),
        (&twice, "bad-results", "two entries for L0"),
        (&negative, "bad-results", "-1 is no measurement"),
        (
            &huge,
            "bad-results",
            "not what condensec eval --json prints",
        ),
    ] {
        folder.write("eval.json", text);
        let said = refused(&folder, ALL, code);
        assert!(said.contains(expected), "{text}: {said}");
        assert!(said.contains("--> eval.json"), "{said}");
    }
    folder.write("eval.json", evaluation().to_string());
    folder.write(
        "bench.json",
        "{\"threads\": 1, \"switch_ns\": 1, \"levels\": []}",
    );
    let said = refused(&folder, ALL, "bad-results");
    assert!(
        said.contains("there are no levels\n  --> bench.json"),
        "{said}"
    );
    refused(&folder, "report net.onnx --eval no.json", "file-not-found");
}

#[test]
fn wrong_layers_models_and_libraries_are_refused() {
    let folder = Folder::with_library();
    let said = refused(&folder, "report net.onnx --layer konv", "unknown-layer");
    assert_eq!(
        said.split_once("error").unwrap().1,
        "[unknown-layer]: there is no layer konv\n  --> net.onnx\n  = note: layers with masks are conv\n  \
         = help: perhaps conv is meant\n"
    );
    let said = refused(&folder, "report net.onnx --layer zzz", "unknown-layer");
    assert!(
        said.contains("help: condensec inspect lists all layers"),
        "{said}"
    );
    refused(
        &folder,
        "report net.onnx --layer classifier",
        "layer-without-mask",
    );
    refused(&folder, "report out", "not-a-supernet");
    folder.write("bad.onnx", "garbage");
    refused(&folder, "report bad.onnx", "not-onnx");

    folder.write("other.cir", models::TEXT);
    let said = refused(&folder, "report other.cir --library out", "other-library");
    assert!(
        said.contains("the supernet has 2 levels, the library 3"),
        "{said}"
    );
    let mut renamed = models::supernet();
    renamed.set_metadata("condense.level_names", "tiny,medium,full");
    folder.write_model("renamed.onnx", &renamed);
    let said = refused(
        &folder,
        "report renamed.onnx --library out",
        "other-library",
    );
    assert!(
        said.contains("L1 is called \"medium\" in the supernet, \"half\" in the library"),
        "{said}"
    );
    let both = folder.condensec("report net.onnx --library out --target aarch64");
    assert_eq!(both.code, 2, "{both:?}");
}

#[test]
fn no_input_is_written_over() {
    let folder = with_results();
    for input in ["net.onnx", "eval.json", "bench.json"] {
        let before = folder.read(input);
        let args = ALL.replace("page.html", &format!("./{input}"));
        refused(&folder, &args, "overwrites-input");
        assert!(folder.read(input) == before);
    }
}

#[test]
fn a_browser_shows_it_at_any_width_and_prints_it() {
    let Some(chromium) = Chromium::find() else {
        return skip::report("a report in a browser (no chromium)");
    };
    let folder = with_results();
    folder.condensec(ALL).success();
    let page = folder.path("page.html");
    for (width, height) in [(360, 800), (1280, 800)] {
        let measured = chromium.measure(&page, width, height);
        assert!(
            measured.window_px > 300 && measured.window_px <= width.into(),
            "{measured:?}"
        );
        assert!(measured.content_px <= measured.window_px, "{measured:?}");
        // Of each plot one size.
        assert_eq!(
            (measured.n_plots, measured.n_broken_images),
            (3, 0),
            "{measured:?}"
        );
        let is_own = |name: &String| name.starts_with("data:");
        assert!(measured.resources.iter().all(is_own), "{measured:?}");
        assert!(measured.console.is_empty(), "{measured:?}");
    }
    let (pdf, console) = chromium.print(&page);
    assert!(pdf.starts_with(b"%PDF-") && pdf.len() > 10_000);
    assert!(console.is_empty(), "{console:?}");
}
