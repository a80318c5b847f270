//! Writes everything that is made from the StreamJob types: the CRD and the reference.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (file, text) in [
        ("crds/streamjob.yaml", weir_api::crd::crd_yaml()),
        // Helm reads nothing outside the chart's folder.
        ("charts/weir/files/streamjob.yaml", weir_api::crd::crd_yaml()),
        ("docs/reference/streamjob.md", weir_api::reference::streamjob_markdown()),
    ] {
        let path = root.join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text)?;
        println!("wrote {file}");
    }
    Ok(())
}
