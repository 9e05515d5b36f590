package proxy

// syncDir does nothing: Windows makes renames durable with the file system's
// journal and cannot open a directory for syncing.
func syncDir(string) error { return nil }
