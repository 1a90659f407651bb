package ingest

import "time"

// SetMaxBackoff has p wait no longer than d before it writes a message again that fails for an
// unexplained reason. Call it before Run.
func SetMaxBackoff(p *Pipeline, d time.Duration) { p.maxBackoff = d }
