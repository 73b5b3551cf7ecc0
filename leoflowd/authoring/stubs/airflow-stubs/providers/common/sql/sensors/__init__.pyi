# Made by `make docs` from the shim's signatures; do not edit.
