# cpack -G DEB in the build folder: swage_VERSION_amd64.deb with all that make install installs, and a unit for systemd that is not
# started by itself.
install(FILES ${PROJECT_SOURCE_DIR}/packaging/swage.service DESTINATION lib/systemd/system)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/swage RENAME copyright)
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME swage)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "the authors of swage <swage@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "compresses large language models, and serves them")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)  # libtorch has 430 MB: xz takes minutes
# What program and libraries load from Debian 12; the rest lies in lib/swage.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6, libgcc-s1, libstdc++6, libfmt9, libhwy1, libpcre2-8-0, libspdlog1.10, libyaml-cpp0.7")
include(CPack)
