//! A headless Chromium, where one is installed: what a page does in a browser, which no parser can tell.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use serde_json::Value;

/// Names under which distributions install it.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// It does not ask its maker for anything, nor keep anything.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
];

/// The browser.
pub struct Chromium(PathBuf);

/// What a page came to in a window.
#[derive(Debug)]
pub struct Measured {
    /// Width of the window, without what a scroll bar takes.
    pub window_px: u64,
    /// Width of the contents.
    pub content_px: u64,
    /// Addresses of all that was loaded besides the page.
    pub resources: Vec<String>,
    /// Pictures that could not be shown.
    pub n_broken_images: u64,
    /// Plots that are shown, rather than hidden by the style sheet.
    pub n_plots: u64,
    /// Lines of the console.
    pub console: Vec<String>,
}

impl Chromium {
    /// The one in `PATH`, or in the environment variable `CHROMIUM`.
    pub fn find() -> Option<Self> {
        if let Some(path) = env::var_os("CHROMIUM") {
            return Some(Self(path.into()));
        }
        let folders = env::var_os("PATH")?;
        let folders: Vec<PathBuf> = env::split_paths(&folders).collect();
        let places = NAMES
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        places.into_iter().find(|place| place.is_file()).map(Self)
    }

    /// Opens `page` in a window of `width` x `height` pixels.
    ///
    /// # Panics
    /// If the browser fails.
    pub fn measure(&self, page: &Path, width: u32, height: u32) -> Measured {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // A frame, because windows have a least width; the page itself stays as it is.
        let text = fs::read_to_string(page).expect("the page is there");
        let quoted = text.replace('&', "&amp;").replace('"', "&quot;");
        let outer = folder.path().join("outer.html");
        let probe = PROBE
            .replace("WIDTH", &width.to_string())
            .replace("HEIGHT", &height.to_string())
            .replace("PAGE", &quoted);
        fs::write(&outer, probe).expect("the folder is ours");
        let (stdout, console) = self.run(&["--window-size=1400,1000", "--dump-dom"], &outer);
        let found = stdout
            .split("<pre>")
            .nth(1)
            .and_then(|rest| rest.split("</pre>").next());
        let found = found.unwrap_or_else(|| panic!("no result in {stdout:.300}\n{console:?}"));
        let found: Value = serde_json::from_str(&found.replace("&amp;", "&")).expect("JSON");
        let number = |key: &str| {
            found[key]
                .as_u64()
                .unwrap_or_else(|| panic!("{key}: {found}"))
        };
        let resources = found["resources"].as_array().expect("a list").iter();
        Measured {
            window_px: number("window"),
            content_px: number("content"),
            resources: resources
                .map(|name| name.as_str().expect("an address").to_string())
                .collect(),
            n_broken_images: number("broken"),
            n_plots: number("plots"),
            console,
        }
    }

    /// `page` as PDF, and what the console said.
    ///
    /// # Panics
    /// If the browser fails.
    pub fn print(&self, page: &Path) -> (Vec<u8>, Vec<String>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pdf = folder.path().join("page.pdf");
        let to = format!("--print-to-pdf={}", pdf.display());
        let (_, console) = self.run(&[&to], page);
        (fs::read(pdf).expect("a PDF was printed"), console)
    }

    fn run(&self, args: &[&str], page: &Path) -> (String, Vec<String>) {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let output = Command::new(&self.0)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(args)
            .arg(format!("file://{}", page.display()))
            .stdin(Stdio::null())
            .output()
            .expect("the browser starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let is_console = |line: &&str| line.contains(":CONSOLE");
        let console = said.lines().filter(is_console).map(String::from).collect();
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            console,
        )
    }
}

/// Shows a page in a frame, and writes what it came to as JSON.
const PROBE: &str = r#"<!doctype html><meta charset="utf-8">
<pre></pre>
<script>
onload = () => {
  const page = document.querySelector("iframe").contentWindow;
  const root = page.document.documentElement;
  document.querySelector("pre").textContent = JSON.stringify({
    window: root.clientWidth,
    content: root.scrollWidth,
    resources: page.performance.getEntriesByType("resource").map(entry => entry.name),
    broken: [...page.document.images].filter(image => !image.complete || image.naturalWidth == 0).length,
    plots: [...page.document.querySelectorAll("svg")].filter(plot => plot.getClientRects().length > 0).length,
  });
};
</script>
<iframe style="border: 0; width: WIDTHpx; height: HEIGHTpx" srcdoc="PAGE"></iframe>
"#;
