package alarm

import "time"

// EventKind is the kind of a transition.
type EventKind string

// The kinds.
const (
	Raised      EventKind = "raised"      // a new occurrence, which closes the one before
	Escalated   EventKind = "escalated"   // to an outer limit; unacknowledged again
	Deescalated EventKind = "deescalated" // to an inner limit
	Cleared     EventKind = "cleared"     // the condition is false
	// the condition is false, and the alarm stays until it is reset
	LatchedEvent EventKind = "latched"
	// re-alarm: still active long after it was acknowledged; unacknowledged again
	Reraised          EventKind = "reraised"
	Acknowledged      EventKind = "acknowledged"
	Reset             EventKind = "reset"
	ShelvedEvent      EventKind = "shelved"
	Unshelved         EventKind = "unshelved"
	SuppressedEvent   EventKind = "suppressed"
	Unsuppressed      EventKind = "unsuppressed"
	TakenOut          EventKind = "out_of_service"
	ReturnedToService EventKind = "returned_to_service"
	Commented         EventKind = "commented"
	RuleChanged       EventKind = "rule_changed"
	Faulted           EventKind = "faulted"   // the rule cannot be evaluated
	Recovered         EventKind = "recovered" // it can again
)

// Event is a transition of an alarm.
type Event struct {
	At           time.Time `json:"at"` // time of the reading, timer or command
	Kind         EventKind `json:"kind"`
	Occurrence   int64     `json:"occurrence"` // 0: before the first
	StateVersion int64     `json:"version"`    // after it
	RuleVersion  int64     `json:"rule_version"`
	Before       StateCode `json:"before"`
	After        StateCode `json:"after"`
	Level        Level     `json:"level,omitempty"`
	Severity     Severity  `json:"severity"`
	Value        *float64  `json:"value,omitempty"` // that caused it; nil: not a reading
	Message      string    `json:"message,omitempty"`
	User         string    `json:"user,omitempty"`
	Comment      string    `json:"comment,omitempty"` // of the user, or the reason
	// journal only: the alarm is shelved, suppressed or out of service
	Quiet bool `json:"quiet,omitempty"`
}
