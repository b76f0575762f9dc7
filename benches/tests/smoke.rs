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
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for target in &TARGETS {
        let row = said.lines().find(|line| line.starts_with(&format!("| {} | ", target.name)));
        let measured = row.and_then(|row| row.split("**").nth(1)).and_then(|number| number.split(' ').next());
        let number: f64 = measured.unwrap_or_else(|| panic!("{} is missing in {said}", target.name)).parse().unwrap();
        assert!(number.is_finite() && number >= 0.0, "{}: {number}", target.name);
    }
}
