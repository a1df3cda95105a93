add_library(swage_rust INTERFACE)
