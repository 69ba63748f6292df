//! The C headers of the runtime crate say what its Rust says.
//!
//! Those of the governor are made by cbindgen from the sources and committed, so that a C program needs no
//! tool; `UPDATE_EXPECT=1` writes them anew.

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};
use harness::workspace;

/// A header and what it is made of.
struct Header {
    name: &'static str,
    sources: &'static [&'static str],
    about: &'static str,
    /// Rust's name of a type, and C's.
    types: &'static [(&'static str, &'static str)],
    /// Types of other headers.
    foreign: &'static str,
}

const HEADERS: &[Header] = &[
    Header {
        name: "cnd_governor",
        sources: &[
            "governor.rs",
            "governor/profile.rs",
            "governor/slow_down.rs",
            "governor/c_interface.rs",
        ],
        about: "\
/* Chooses the level that the next run of a condensec model can afford.
 *
 * It is in the static library of the runtime crate, which needs no operating system:
 *
 *     cargo rustc --release -p condensec-runtime --features panic-handler --crate-type staticlib --target thumbv7em-none-eabihf
 *     cargo rustc --release -p condensec-runtime --features std --crate-type staticlib
 *
 * The profile comes from `condensec profile --emit header`:
 *
 *     cnd_governor governor;
 *     cnd_governor_init(&governor, &net_profile, NULL);
 *     for (;;) {
 *         net_set_level(model, cnd_governor_choose(&governor, 20000.0f, frequency_khz()));
 *         .. run, and measure how many microseconds it takes ..
 *         cnd_governor_observe(&governor, run_us);
 *     }
 *
 * Nothing allocates, and no function is safe to call for one governor from two threads at once. Fields of a
 * cnd_governor are its own business. Made by cbindgen from runtime/src/governor; do not edit.
 */",
        types: &[
            ("LevelTiming", "cnd_level_timing"),
            ("Profile", "cnd_profile"),
            ("SlowDown", "cnd_slow_down"),
            ("Config", "cnd_governor_config"),
            ("Governor", "cnd_governor"),
            ("Model", "struct cnd_model"),
        ],
        foreign: "\n/* The descriptor that a model's header declares. */\nstruct cnd_model;\n",
    },
    Header {
        name: "cnd_cpufreq",
        sources: &["cpufreq.rs", "cpufreq/c_interface.rs"],
        about: "\
/* Clock frequencies of Linux, for a governor: see cnd_governor.h.
 *
 *     cnd_cpufreq *clock = cnd_cpufreq_open(NULL, cpu);
 *     cnd_governor_choose(&governor, deadline_us, cnd_cpufreq_khz(clock));
 *
 * In the static library of the runtime crate with the feature std. Made by cbindgen from
 * runtime/src/cpufreq; do not edit.
 */",
        types: &[("Cpufreq", "cnd_cpufreq")],
        foreign: "",
    },
];

#[test]
fn headers_are_what_cbindgen_makes() {
    let runtime = workspace::root().join("runtime");
    for header in HEADERS {
        let made = generate(header);
        let path = runtime.join(format!("include/{}.h", header.name));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == made,
            "{} is out of date: run this test with UPDATE_EXPECT=1",
            path.display()
        );
    }
}

fn generate(header: &Header) -> String {
    let mut config = Config {
        language: Language::C,
        style: Style::Both,
        documentation_style: DocumentationStyle::C,
        cpp_compat: true,
        header: Some(header.about.to_string()),
        include_guard: Some(format!("{}_H", header.name.to_ascii_uppercase())),
        no_includes: true,
        sys_includes: ["stdbool.h", "stddef.h", "stdint.h"]
            .map(String::from)
            .to_vec(),
        after_includes: Some(header.foreign.to_string()),
        usize_is_size_t: true,
        line_length: 110,
        ..Config::default()
    };
    let types = header.types.iter();
    config.export.rename = types
        .map(|(rust, c)| (rust.to_string(), c.to_string()))
        .collect();
    // Types of C, and what only Rust sees.
    config.export.exclude = vec!["Model".into()];
    let runtime = workspace::root().join("runtime/src");
    let mut builder = Builder::new().with_config(config);
    for source in header.sources {
        builder = builder.with_src(runtime.join(source));
    }
    let mut text = Vec::new();
    builder
        .generate()
        .expect("the sources parse")
        .write(&mut text);
    String::from_utf8(text).expect("sources are UTF-8")
}
