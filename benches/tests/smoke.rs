//! The bench works: everything is measured once at the smallest scale. Whether it is fast is not asked here.

use std::process::Command;

use hearth_benches::target::TARGETS;

#[test]
fn every_target_is_measured() {
    let output = Command::new(env!("CARGO_BIN_EXE_hearth-benches"))
        .args(["all", "--tiny", "--runs", "1"])
        .output()
        .expect("the bench can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().filter(|line| line.starts_with("skipped: ")).for_each(|line| println!("{line}"));
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // There may be nothing to compare with.
    let skipped: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("skipped: ")?.split(':').next()).collect();
    for target in TARGETS.iter().filter(|target| !skipped.iter().any(|skipped| target.name.starts_with(skipped))) {
        let row = said.lines().find(|line| line.starts_with(&format!("| {} | ", target.name)));
        let measured = row.and_then(|row| row.split("**").nth(1)).and_then(|number| number.split(' ').next());
        let number: f64 = measured.unwrap_or_else(|| panic!("{} is missing in {said}", target.name)).parse().unwrap();
        assert!(number.is_finite() && number >= 0.0, "{}: {number}", target.name);
    }
}
