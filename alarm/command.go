package alarm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// What a Refusal is.
var (
	ErrStale      = errors.New("stale")       // the alarm has changed since it was seen
	ErrNotAllowed = errors.New("not allowed") // not in the state that the alarm is in
	ErrInvalid    = errors.New("invalid")     // the command itself makes no sense
)

// Refusal says why a command is not carried out.
type Refusal struct {
	Kind  error  // ErrStale, ErrNotAllowed or ErrInvalid
	Field string // of the command that is wrong, when it is ErrInvalid
	// for people: a sentence; what follows the field when it is ErrInvalid, and "it has changed:"
	// when it is ErrStale
	Reason string
}

func (r *Refusal) Error() string { return r.Kind.Error() + ": " + r.Reason }

// Unwrap is the Kind.
func (r *Refusal) Unwrap() error { return r.Kind }

func stale(format string, args ...any) error {
	return &Refusal{Kind: ErrStale, Reason: fmt.Sprintf(format, args...)}
}

func notAllowed(reason string) error { return &Refusal{Kind: ErrNotAllowed, Reason: reason} }

func invalid(field, format string, args ...any) error {
	return &Refusal{Kind: ErrInvalid, Field: field, Reason: fmt.Sprintf(format, args...)}
}

// CommandKind is what somebody wants of an alarm.
type CommandKind string

// The commands. The last six are not of people but of what owns the alarms.
const (
	Acknowledge     CommandKind = "acknowledge" // Occurrence and Version
	Shelve          CommandKind = "shelve"      // Until, OneShot, Comment
	Unshelve        CommandKind = "unshelve"
	ResetLatch      CommandKind = "reset"
	TakeOut         CommandKind = "out_of_service" // Comment
	ReturnToService CommandKind = "return_to_service"
	Remark          CommandKind = "comment"    // Comment
	Suppress        CommandKind = "suppress"   // Cause
	Unsuppress      CommandKind = "unsuppress" // Cause
	Rest            CommandKind = "rest"       // Comment: what is not in use
	Resume          CommandKind = "resume"
	FollowRule      CommandKind = "rule_changed" // the rule passed to Apply is another version
	MarkFaulted     CommandKind = "fault"        // Comment
)

// LongestShelf is how long an alarm may be shelved.
const LongestShelf = 8 * time.Hour

// Command is what somebody wants of an alarm, and what they saw when they wanted it.
type Command struct {
	Kind         CommandKind
	User         string
	Comment      string    // at most 1000 characters
	Occurrence   int64     // Acknowledge: the one that was seen
	StateVersion int64     // State.Version that was seen: required by Acknowledge, else 0 is any
	Until        time.Time // Shelve: at most LongestShelf from now; zero with OneShot: that
	OneShot      bool      // Shelve: until the alarm clears, but not beyond Until
	Cause        int64     // Suppress, Unsuppress: the alarm that is or was the cause
}

// Apply is the state after a command at now, and what happened. Timers that end by now end before
// it. On an error, which is a Refusal unless the rule runs away, nothing has changed.
func Apply(r *Rule, s State, c Command, now time.Time) (State, []Event, error) {
	j := journal{r: r, s: s, lag: s.lag()}
	if c.Kind == Suppress || c.Kind == Unsuppress {
		j.lag = 1 // they come at the time of a reading, as in Step
	}
	if c.Kind != FollowRule { // its timers are the old rule's
		if err := j.advance(now); err != nil {
			return s, nil, err
		}
	}
	if err := j.apply(c, now); err != nil {
		return s, nil, err
	}
	return j.s, j.events, nil
}

func (j *journal) apply(c Command, now time.Time) error {
	s := &j.s
	if c.StateVersion != 0 && c.StateVersion != s.Version {
		return stale("it is at version %d, not %d", s.Version, c.StateVersion)
	}
	if utf8.RuneCountInString(c.Comment) > 1000 || strings.ContainsRune(c.Comment, 0) ||
		!utf8.ValidString(c.Comment) {
		return invalid("comment", "must be text of at most 1000 characters")
	}
	e := Event{At: now, Before: s.Code(), User: c.User, Comment: c.Comment}
	switch c.Kind {
	case Acknowledge:
		if c.StateVersion == 0 || c.Occurrence != s.Occurrence {
			return stale("its newest occurrence is %d, at version %d", s.Occurrence, s.Version)
		}
		if !s.Unacked {
			return notAllowed("There is nothing to acknowledge.")
		}
		s.Unacked, s.AckedAt, e.Kind = false, now, Acknowledged
	case Shelve:
		return j.shelve(c, now)
	case Unshelve:
		if s.Shelf.Until.IsZero() {
			return notAllowed("The alarm is not shelved.")
		}
		j.unshelve(now, c.User, c.Comment)
		return nil
	case ResetLatch:
		if !s.Latched {
			return notAllowed("Only an alarm that is latched, after its trouble is over, can be reset.")
		}
		s.Latched, e.Kind = false, Reset
	case TakeOut:
		if s.OutOfService {
			return notAllowed("The alarm is out of service.")
		}
		if strings.TrimSpace(c.Comment) == "" {
			return invalid("comment", "must say why the alarm is taken out of service")
		}
		s.OutOfService, e.Kind = true, TakenOut
	case ReturnToService:
		if !s.OutOfService {
			return notAllowed("The alarm is in service.")
		}
		s.OutOfService, e.Kind = false, ReturnedToService
	case Remark:
		if strings.TrimSpace(c.Comment) == "" {
			return invalid("comment", "must say something")
		}
		e.Kind = Commented
	case Suppress, Unsuppress:
		j.cause(c, now)
		return nil
	case Rest:
		had := s.Resting
		if s.Resting = c.Comment; had != "" {
			return nil
		}
		s.Rise, s.Fall, s.Window = [2]Wait{}, [2]Wait{}, nil
		e.Kind = SuppressedEvent
	case Resume:
		if s.Resting == "" {
			return nil
		}
		s.Resting, e.Kind = "", Unsuppressed
		s.Began, s.Clock = now, now // silence is counted from now, and no timer ends before
	case FollowRule:
		j.follow(now)
		e.Kind = RuleChanged
	case MarkFaulted:
		if s.Fault != "" {
			return nil
		}
		s.Fault, e.Kind = c.Comment, Faulted
		if s.Fault == "" {
			s.Fault = "unknown"
		}
	default:
		return invalid("kind", "is no command: %.40q", c.Kind)
	}
	j.add(e, none)
	return nil
}

func (j *journal) shelve(c Command, now time.Time) error {
	s := &j.s
	until := c.Until
	if until.IsZero() && c.OneShot {
		until = now.Add(LongestShelf)
	}
	switch {
	case s.OutOfService:
		return notAllowed("The alarm is out of service.")
	case strings.TrimSpace(c.Comment) == "":
		return invalid("comment", "must say why the alarm is shelved")
	case !until.After(now):
		return invalid("until", "must be to come")
	case until.Sub(now) > LongestShelf:
		return invalid("until", "must be at most %v from now", LongestShelf)
	case c.OneShot && !s.Active:
		return notAllowed("Only an active alarm can be shelved until it clears.")
	}
	before := s.Code()
	s.Shelf = Shelf{Until: until, OneShot: c.OneShot, By: c.User, Reason: c.Comment}
	j.add(Event{At: now, Kind: ShelvedEvent, Before: before, User: c.User, Comment: c.Comment},
		none)
	return nil
}

// cause takes an alarm into those that suppress this one, or out of them.
func (j *journal) cause(c Command, now time.Time) {
	s := &j.s
	before := s.Code()
	have := slices.Contains(s.Causes, c.Cause)
	e := Event{At: now, Before: before, Comment: fmt.Sprintf("alarm %d", c.Cause)}
	switch {
	case c.Kind == Suppress && !have:
		s.Causes = append(slices.Clone(s.Causes), c.Cause)
		e.Kind = SuppressedEvent
	case c.Kind == Unsuppress && have:
		s.Causes = slices.DeleteFunc(slices.Clone(s.Causes),
			func(id int64) bool { return id == c.Cause })
		e.Kind = Unsuppressed
	default:
		return
	}
	j.add(e, none)
}

// follow takes the rule's new definition; what stands keeps standing until Evaluate or Step judges
// it. Waits begin again, but silence is counted from where it began.
func (j *journal) follow(now time.Time) {
	r, s := j.r, &j.s
	s.RuleVersion, s.Clock = r.Version, now
	s.Rise, s.Fall, s.Window, s.Fault = [2]Wait{}, [2]Wait{}, nil, ""
	if s.Active && r.has(s.Level) {
		s.Severity = r.severity(s.Level)
	}
	s.OffSchedule = r.Schedule != nil && !r.Schedule.on(r.location(), now)
	s.Causes = slices.DeleteFunc(slices.Clone(s.Causes),
		func(id int64) bool { return !slices.Contains(r.SuppressedBy, id) })
	s.Others = slices.DeleteFunc(slices.Clone(s.Others),
		func(x Sample) bool { return !r.reads(x.SensorID) })
}
