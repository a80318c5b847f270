//! What is made from the types is as committed, and readable by readers that are not ours.

use std::path::Path;
use std::process::Command;

use weir_api::crd::COMMAND;

fn check(file: &str, made: &str) {
    let path = Path::new("../..").join(file);
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "{file} is not what the types make; run `{COMMAND}`");
}

#[test]
fn the_crd_is_as_committed() {
    check("crds/streamjob.yaml", &weir_api::crd::crd_yaml());
    check("charts/weir/files/streamjob.yaml", &weir_api::crd::crd_yaml());
}

#[test]
fn the_reference_is_as_committed() {
    check("docs/reference/streamjob.md", &weir_api::reference::streamjob_markdown());
}

/// YAML 1.1 is what `kubectl` and Helm read. Skipped where there is no Python with PyYAML.
#[test]
fn a_yaml_1_1_reader_reads_the_same_crd() {
    let script = "import sys, json, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]).read())))";
    let crd = Path::new("../../crds/streamjob.yaml");
    let output = Command::new("python3").args(["-c", script]).arg(crd).output();
    let Ok(output) = output else {
        println!("skipped: no python3");
        return;
    };
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("No module named 'yaml'"), "{stderr}");
        println!("skipped: no PyYAML");
        return;
    }
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read, serde_json::to_value(weir_api::crd::crd()).unwrap());
}
