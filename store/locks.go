package store

// The advisory locks that instances hold against each other. A transaction that takes several takes
// them in this order.
const (
	// migrationLock is held while the schema's version is read and changed. golang-migrate releases
	// its own lock in between, so another instance could mistake a running migration for an
	// interrupted one.
	migrationLock = 0x6f65692d + iota // "oei-"
	// retentionLock is held by the instance that enforces retention.
	retentionLock
	// maintenanceLock is held by the instance that merges partitions and rebuilds their keys.
	maintenanceLock
	// rollupLock is held by the instance that rolls up.
	rollupLock
	// partitionLock is held while partitions are attached, exchanged and dropped.
	partitionLock
)
