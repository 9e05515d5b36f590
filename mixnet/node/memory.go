package node

// GCPercent is for debug.SetGCPercent in a process that is a node and little else.
// Most of a mix's heap under load is replay tags: a hundred megabytes and more that
// live for an hour, beside which Go's 100 percent would let as much again lie idle.
// They hold no pointers, so that collecting more often costs little: one per cent of
// a full core, as contrib/measure/mixload shows.
const GCPercent = 50
