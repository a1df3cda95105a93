// Generates the C++ side of the bridge (swage-rust/src/lib.rs.h) and compiles it into the static library.
fn main() {
    cxx_build::bridges(["src/lib.rs", "src/server/bridge.rs"]).std("c++20").opt_level(1).debug(false).compile("swage_rust_bridge");
    println!("cargo:rerun-if-changed=src/lib.rs");
    println!("cargo:rerun-if-changed=src/server/bridge.rs");
}
