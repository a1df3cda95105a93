# -O1 compiles in four fifths of the time of -O2.
set(SWAGE_COLD $<$<CONFIG:Release>:-O1>)

# swage_folder(NAME [TORCH] [COLD] [UNITY] [SHARDS count] [DEPS folder...] [LINK target...])
# makes library swage_NAME of swage/NAME/**.cpp and, from the *_test.cpp beside them, one test program NAME_test. COLD: no loop over
# numbers of its own, so that optimizing it would only cost time.
# UNITY: eight files are compiled as one, since every file pays two seconds for the templates of ATen's headers, precompiled or not; names in their unnamed
# namespaces have to differ. So are the tests of every folder: seven of them take a fifth of the time that way. -DSWAGE_UNITY=OFF compiles them one by one.
# SHARDS: ctest runs the tests of the folder as so many parts side by side.
function(swage_folder name)
  cmake_parse_arguments(ARG "TORCH;COLD;UNITY" "SHARDS" "DEPS;LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/swage/${name}/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  if(NOT sources)
    return()
  endif()
  add_library(swage_${name} STATIC ${sources})
  target_include_directories(swage_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  if(ARG_UNITY AND SWAGE_UNITY)
    set_target_properties(swage_${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
  if(ARG_COLD)
    target_compile_options(swage_${name} PRIVATE ${SWAGE_COLD})
  endif()
  list(TRANSFORM ARG_DEPS PREPEND swage_)
  foreach(dep ${ARG_DEPS})
    if(TARGET ${dep})
      target_link_libraries(swage_${name} PUBLIC ${dep})
    endif()
  endforeach()
  target_link_libraries(swage_${name} PUBLIC ${ARG_LINK})
  if(ARG_TORCH)
    target_link_libraries(swage_${name} PUBLIC swage_torch)
    if(SWAGE_PCH)
      target_precompile_headers(swage_${name} REUSE_FROM swage_torch_pch)
    endif()
  endif()
  if(BUILD_TESTING AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE swage_${name} GTest::gtest_main GTest::gmock)
    swage_test_settings(${name}_test)
    target_compile_options(${name}_test PRIVATE ${SWAGE_COLD})
    if(SWAGE_UNITY)
      set_target_properties(${name}_test PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    endif()
    if(ARG_TORCH AND SWAGE_PCH)
      target_precompile_headers(${name}_test REUSE_FROM swage_test_pch)
    endif()
    swage_add_tests(${name}_test "${ARG_SHARDS}")
  endif()
endfunction()

# Where tests find data: their own small selection, and the full sets if they lie beside the checkout.
function(swage_test_settings target)
  if(SWAGE_SANITIZE MATCHES "thread")
    target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/gomp_tsan.cpp)
    set_source_files_properties(${PROJECT_SOURCE_DIR}/tests/support/gomp_tsan.cpp PROPERTIES SKIP_PRECOMPILE_HEADERS ON SKIP_UNITY_BUILD_INCLUSION ON)
    target_link_libraries(${target} PRIVATE ${CMAKE_DL_LIBS})
  endif()
  target_compile_definitions(${target} PRIVATE
    SWAGE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data" SWAGE_FULL_DATA="${PROJECT_SOURCE_DIR}/../shared")
  if(TARGET swage_torch)
    target_link_libraries(${target} PRIVATE swage_torch)
  endif()
endfunction()

# Registers a test program with ctest, as a whole or in `shards` parts; tests named *Slow* run apart with the label `slow`.
# Threads that wait for one another spin less, as they do in the program (apps/cli): left to the runtime, that is most of
# what tests on tiny models take, and it is taken from the test beside.
function(swage_add_tests target shards)
  set(calm GOMP_SPINCOUNT=1000)
  add_test(NAME ${target}_slow COMMAND ${target} --gtest_filter=*Slow* --gtest_brief=1)
  set_tests_properties(${target}_slow PROPERTIES LABELS slow TIMEOUT 900 ENVIRONMENT ${calm})
  if(NOT shards)
    add_test(NAME ${target} COMMAND ${target} --gtest_filter=-*Slow* --gtest_brief=1)
    set_tests_properties(${target} PROPERTIES TIMEOUT 600 ENVIRONMENT ${calm})
    return()
  endif()
  foreach(shard RANGE 1 ${shards})
    math(EXPR index "${shard} - 1")
    add_test(NAME ${target}_${shard} COMMAND ${target} --gtest_filter=-*Slow* --gtest_brief=1)
    set_tests_properties(${target}_${shard} PROPERTIES TIMEOUT 900 ENVIRONMENT "${calm};GTEST_TOTAL_SHARDS=${shards};GTEST_SHARD_INDEX=${index}")
  endforeach()
endfunction()

# swage/FOLDER/NAME.json goes into the library as it is: as the literal swage::FOLDER::LITERAL, which a header of the folder declares.
function(swage_embed_json folder name literal)
  set(source ${PROJECT_SOURCE_DIR}/swage/${folder}/${name}.json)
  set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(READ ${source} text)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/${name}_json.cpp CONTENT [[
namespace swage::@folder@ {
extern const char* const @literal@;
const char* const @literal@ = R"json(@text@)json";
}  // namespace swage::@folder@
]] @ONLY)
  target_sources(swage_${folder} PRIVATE ${CMAKE_BINARY_DIR}/${name}_json.cpp)
endfunction()
