# make install: the program, its library with the shared libraries that it needs, headers, recipes, man page, completion. What is installed can be
# moved as a whole: libraries are found beside each other, the program finds them in ../lib/swage.
include(GNUInstallDirs)
set(SWAGE_INSTALL_LIBRARIES lib/swage)
set_target_properties(swage PROPERTIES INSTALL_RPATH "\$ORIGIN/../${SWAGE_INSTALL_LIBRARIES}")
set_target_properties(swage_library PROPERTIES INSTALL_RPATH "\$ORIGIN")
install(TARGETS swage RUNTIME DESTINATION bin)
install(TARGETS swage_library LIBRARY DESTINATION ${SWAGE_INSTALL_LIBRARIES})

# libtorch and what it loads, Arrow: by the names under which they are asked for.
file(GLOB SWAGE_CUDA_STUBS ${SWAGE_CUDART_DIR}/libcudart.so.* ${SWAGE_CUPTI_DIR}/libcupti.so.*)
foreach(library ${SWAGE_TORCH_ROOT}/lib/libtorch_cpu.so ${SWAGE_TORCH_ROOT}/lib/libc10.so ${SWAGE_GOMP} ${SWAGE_CUDA_STUBS} ${SWAGE_ARROW_LIBRARIES})
  get_filename_component(name ${library} NAME)
  get_filename_component(file ${library} REALPATH)
  install(FILES ${file} DESTINATION ${SWAGE_INSTALL_LIBRARIES} RENAME ${name})
endforeach()

# swage.h and what it includes.
foreach(header swage.h base/context.h base/device_map.h base/error.h base/json.h base/memory_budget.h base/version.h modifiers/config.h net/http_server.h recipe/run_options.h runtime/request.h runtime/sampler.h)
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES swage/${header} DESTINATION include/swage/${folder})
endforeach()
install(DIRECTORY recipes/ DESTINATION share/swage/recipes FILES_MATCHING PATTERN "*.yaml")

# Texts that the program writes itself.
set(made ${CMAKE_BINARY_DIR}/install)
install(CODE "
  file(MAKE_DIRECTORY \"${made}\")
  foreach(text \"man;swage.1\" \"completion;bash;swage\" \"completion;zsh;_swage\" \"completion;fish;swage.fish\")
    list(POP_BACK text name)
    execute_process(COMMAND \"${CMAKE_BINARY_DIR}/swage\" \${text} OUTPUT_FILE \"${made}/\${name}\" COMMAND_ERROR_IS_FATAL ANY)
  endforeach()")
install(FILES ${made}/swage.1 DESTINATION share/man/man1)
install(FILES ${made}/swage DESTINATION share/bash-completion/completions)
install(FILES ${made}/_swage DESTINATION share/zsh/site-functions)
install(FILES ${made}/swage.fish DESTINATION share/fish/vendor_completions.d)
