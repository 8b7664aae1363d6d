//! `countersign-playground-tool MODULE PAGE OUT`: from the compiled module to files a browser opens.
//!
//! `OUT/index.html` is the whole page in one file, which needs no server and fetches nothing. `OUT/module` is the same
//! engine as an ES module with TypeScript types, for other pages.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use wasm_bindgen_cli_support::Bindgen;

const NAME: &str = "countersign_playground";

/// Why the page cannot be put together.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("usage: countersign-playground-tool MODULE PAGE OUT")]
    Usage,
    #[error("cannot read or write {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("wasm-bindgen: {0}")]
    Bindgen(String),
    #[error("{}: holds {found} of {mark:?}, expected one", path.display())]
    Mark {
        path: PathBuf,
        mark: &'static str,
        found: usize,
    },
}

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    match build(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn build(arguments: &[PathBuf]) -> Result<(), Fault> {
    let [module, page, out] = arguments else {
        return Err(Fault::Usage);
    };
    let bindgen = |error: &dyn std::fmt::Display| Fault::Bindgen(format!("{error:#}"));
    let tool = |typescript| {
        let mut tool = Bindgen::new();
        tool.input_path(module)
            .typescript(typescript)
            .out_name(NAME);
        tool.remove_name_section(true)
            .remove_producers_section(true);
        tool
    };
    let es = out.join("module");
    let mut tool_es = tool(true);
    tool_es.web(true).map_err(|error| bindgen(&error))?;
    tool_es.generate(&es).map_err(|error| bindgen(&error))?;
    // Browsers do not load ES modules from files.
    let classic = out.join("classic");
    let mut tool_classic = tool(false);
    tool_classic
        .no_modules(true)
        .map_err(|error| bindgen(&error))?;
    tool_classic
        .generate(&classic)
        .map_err(|error| bindgen(&error))?;

    let wasm = classic.join(format!("{NAME}_bg.wasm"));
    let bytes = fs::read(&wasm).map_err(|source| Fault::File { path: wasm, source })?;
    let template = page.join("index.html");
    let mut html = read(&template)?;
    let parts = [
        ("/*STYLE*/", read(&page.join("style.css"))?),
        ("/*GLUE*/", read(&classic.join(format!("{NAME}.js")))?),
        ("/*SCRIPT*/", read(&page.join("script.js"))?),
        ("/*MODULE*/", BASE64_STANDARD.encode(bytes)),
    ];
    for (mark, part) in parts {
        let found = html.matches(mark).count();
        if found != 1 {
            let path = template;
            return Err(Fault::Mark { path, mark, found });
        }
        // What is put in is looked at no more: it may well contain a mark.
        html = html.replacen(mark, &part.replace("</script", "<\\/script"), 1);
    }
    let index = out.join("index.html");
    fs::write(&index, html).map_err(|source| Fault::File {
        path: index,
        source,
    })?;
    fs::remove_dir_all(&classic).map_err(|source| Fault::File {
        path: classic,
        source,
    })
}

fn read(path: &Path) -> Result<String, Fault> {
    fs::read_to_string(path).map_err(|source| Fault::File {
        path: path.to_owned(),
        source,
    })
}
