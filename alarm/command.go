package alarm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The kinds of a Refusal.
var (
	ErrStale      = errors.New("stale")       // the alarm has changed since it was seen
	ErrNotAllowed = errors.New("not allowed") // in the state of the alarm
	ErrInvalid    = errors.New("invalid")     // the command itself is wrong
)

// Refusal is the reason why a command is refused.
type Refusal struct {
	Kind  error  // ErrStale, ErrNotAllowed or ErrInvalid
	Field string // of the command that is wrong, for ErrInvalid
	// for people: a sentence; for ErrInvalid the text after the field, for ErrStale the text after
	// "it has changed:"
	Reason string
}

func (r *Refusal) Error() string { return r.Kind.Error() + ": " + r.Reason }

// Unwrap returns the Kind.
func (r *Refusal) Unwrap() error { return r.Kind }

func stale(format string, args ...any) error {
	return &Refusal{Kind: ErrStale, Reason: fmt.Sprintf(format, args...)}
}

func notAllowed(reason string) error { return &Refusal{Kind: ErrNotAllowed, Reason: reason} }

func invalid(field, format string, args ...any) error {
	return &Refusal{Kind: ErrInvalid, Field: field, Reason: fmt.Sprintf(format, args...)}
}

// CommandKind is the kind of a command.
type CommandKind string

// The kinds. The last six are not given by people but by the owner of the alarms.
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

// MaxShelf is how long an alarm may be shelved.
const MaxShelf = 8 * time.Hour

// Command changes an alarm. It names the state that its user saw.
type Command struct {
	Kind         CommandKind
	User         string
	Comment      string    // at most 1000 characters
	Occurrence   int64     // Acknowledge: that was seen
	StateVersion int64     // State.Version that was seen: required by Acknowledge, else 0 is any
	Until        time.Time // Shelve: at most MaxShelf from now; zero with OneShot: that
	OneShot      bool      // Shelve: until the alarm clears, but not beyond Until
	Cause        int64     // Suppress, Unsuppress: the alarm that is or was the cause
}

// Apply returns the state after a command at now, and the events. Timers that are due by now fire
// before it. On an error, which is a Refusal unless the rule's timers never end, nothing has
// changed.
func Apply(r *Rule, s State, c Command, now time.Time) (State, []Event, error) {
	j := journal{r: r, s: s, lag: s.lag()}
	if c.Kind == Suppress || c.Kind == Unsuppress {
		j.lag = 1 // they are caused by a reading, as in Step
	}
	if c.Kind != FollowRule { // then the timers are those of the old rule
		if err := j.runTimers(now); err != nil {
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
			return notAllowed(
				"Only an alarm that is latched, after its trouble is over, can be reset.")
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
		j.changeCauses(c, now)
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
		s.Began, s.Clock = now, now // silence begins now, and no timer fires before
	case FollowRule:
		j.followRule(now)
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
	j.addEvent(e, noValue)
	return nil
}

func (j *journal) shelve(c Command, now time.Time) error {
	s := &j.s
	until := c.Until
	if until.IsZero() && c.OneShot {
		until = now.Add(MaxShelf)
	}
	switch {
	case s.OutOfService:
		return notAllowed("The alarm is out of service.")
	case strings.TrimSpace(c.Comment) == "":
		return invalid("comment", "must say why the alarm is shelved")
	case !until.After(now):
		return invalid("until", "must be to come")
	case until.Sub(now) > MaxShelf:
		return invalid("until", "must be at most %v from now", MaxShelf)
	case c.OneShot && !s.Active:
		return notAllowed("Only an active alarm can be shelved until it clears.")
	}
	before := s.Code()
	s.Shelf = Shelf{Until: until, OneShot: c.OneShot, By: c.User, Reason: c.Comment}
	j.addEvent(Event{At: now, Kind: ShelvedEvent, Before: before, User: c.User, Comment: c.Comment},
		noValue)
	return nil
}

// changeCauses adds an alarm to those that suppress this one, or removes it.
func (j *journal) changeCauses(c Command, now time.Time) {
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
	j.addEvent(e, noValue)
}

// followRule adopts a new version of the rule. An active alarm stays active until Evaluate or Step
// evaluates it. Waits begin again; silence goes on.
func (j *journal) followRule(now time.Time) {
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
		func(x Sample) bool { return !r.refersTo(x.SensorID) })
}
