//! Points at which tests end the process or a disk fails (src/crash.rs) are in every build but a release's.
fn main() {
    println!("cargo::rustc-check-cfg=cfg(crash_points)");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        println!("cargo::rustc-cfg=crash_points");
    }
}
