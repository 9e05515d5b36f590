package server

import "mailproxy/spool"

// StatusHasLabel is for the test that metrics name every status.
func StatusHasLabel(s spool.Status) bool { return statusLabels[s] != "" }
