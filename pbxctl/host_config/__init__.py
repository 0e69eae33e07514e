"""What a bare host needs before `pbxctl apply`: made from the spec, pure but for `writing`."""
