# swage_rust: the static library of rust/ and the C++ header that cxx generates beside it (swage-rust/src/lib.rs.h).
# Cargo runs when a file of rust/ changed; Cargo.lock pins every crate.
find_program(CARGO cargo REQUIRED)
set(SWAGE_CARGO_DIR ${CMAKE_BINARY_DIR}/rust)
set(SWAGE_RUST_ARCHIVE ${SWAGE_CARGO_DIR}/release/libswage_rust.a)
set(SWAGE_CARGO_ENVIRONMENT)
set(SWAGE_CARGO_OPTIONS)
if(SWAGE_FUZZ)
  # libFuzzer's counters in the crates, AddressSanitizer in their C code. With a target, build scripts stay as they are.
  set(SWAGE_RUST_ARCHIVE ${SWAGE_CARGO_DIR}/x86_64-unknown-linux-gnu/release/libswage_rust.a)
  string(JOIN " " rust_flags -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1)
  set(SWAGE_CARGO_ENVIRONMENT "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=${rust_flags}" CC_x86_64_unknown_linux_gnu=${CMAKE_C_COMPILER}
    "CFLAGS_x86_64_unknown_linux_gnu=-fsanitize=address,fuzzer-no-link")
  set(SWAGE_CARGO_OPTIONS --target x86_64-unknown-linux-gnu)
endif()
file(GLOB_RECURSE SWAGE_RUST_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/rust/src/*.rs)
add_custom_command(
  OUTPUT ${SWAGE_RUST_ARCHIVE}
  COMMAND ${CMAKE_COMMAND} -E env ${SWAGE_CARGO_ENVIRONMENT} ${CARGO} build --quiet --release --locked --target-dir ${SWAGE_CARGO_DIR}
    ${SWAGE_CARGO_OPTIONS}
  COMMAND ${CMAKE_COMMAND} -E touch ${SWAGE_RUST_ARCHIVE}
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}/rust
  DEPENDS ${SWAGE_RUST_SOURCES} ${PROJECT_SOURCE_DIR}/rust/Cargo.toml ${PROJECT_SOURCE_DIR}/rust/Cargo.lock
    ${PROJECT_SOURCE_DIR}/rust/build.rs ${PROJECT_SOURCE_DIR}/examples/text/calibration.jsonl ${PROJECT_SOURCE_DIR}/examples/text/heldout.jsonl
  COMMENT "Building the Rust bridge (tokenizers, chat templates, ureq)"
  VERBATIM)
add_custom_target(swage_rust_build DEPENDS ${SWAGE_RUST_ARCHIVE})
add_library(swage_rust INTERFACE)
add_dependencies(swage_rust swage_rust_build)
target_include_directories(swage_rust SYSTEM INTERFACE ${SWAGE_CARGO_DIR}/cxxbridge)
target_link_options(swage_rust INTERFACE LINKER:--gc-sections)  # most of the crates' code is never called
target_link_libraries(swage_rust INTERFACE ${SWAGE_RUST_ARCHIVE} Threads::Threads ${CMAKE_DL_LIBS} m)
if(BUILD_TESTING)
  add_test(NAME rust_test COMMAND ${CARGO} test --quiet --release --locked --target-dir ${SWAGE_CARGO_DIR}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}/rust)
  set_tests_properties(rust_test PROPERTIES TIMEOUT 600)
endif()
