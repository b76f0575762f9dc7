//! Puts the files that the server hands out into the program: the JavaScript SDK, the demo and the live page.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let sdk = here.join("../../client-sdk/js");
    let mut files = vec![("sdk/hearth.js".to_string(), sdk.join("hearth.js"))];
    add(&sdk.join("src"), "sdk/src", &mut files);
    files.push(("sdk/firebase-defaults.js".to_string(), here.join("assets/firebase-defaults.js")));
    add(&here.join("assets/live"), "sdk/live", &mut files);
    add(&here.join("assets/demo"), "demo", &mut files);
    files.sort();

    let mut code = String::from("const FILES: &[(&str, &[u8])] = &[\n");
    for (name, path) in &files {
        println!("cargo::rerun-if-changed={}", path.display());
        let path = fs::canonicalize(path).expect("the file was just listed");
        writeln!(code, "    ({name:?}, include_bytes!({path:?})),").expect("text is written into memory");
    }
    code += "];\n";
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("files.rs"), code).expect("cargo's folder is writable");
}

/// Adds all files of a folder under `name`, and looks at the folder again when one comes or goes.
fn add(folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder).expect("the folder is part of the repository") {
        let path = entry.expect("the folder can be read").path();
        let inside = format!("{name}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            add(&path, &inside, files);
        } else {
            files.push((inside, path));
        }
    }
}
