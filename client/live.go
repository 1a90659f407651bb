package oei

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
)

const maxTopics = 1000

// LiveMessage is a message of a live stream: a [LiveReading], [LiveAlarm], [LiveAlarms],
// [LivePresence], [LiveGap] or [LiveState].
type LiveMessage interface{ isLive() }

// LiveReading is a stored reading.
type LiveReading struct {
	SensorID   ID
	GatewayID  ID
	SensorType SensorType // empty for sensors of the server itself
	Timestamp  time.Time
	Value      float64 // in the sensor's unit; NaN when there is none
	Quality    Quality
	Origin     Origin
}

// Origin says how a reading came into a stream.
type Origin string

// Values of Origin.
const (
	OriginLive     Origin = "live"     // pushed when it was stored
	OriginSnapshot Origin = "snapshot" // the newest of its sensor when the stream began
	OriginGap      Origin = "gap"      // stored while the connection was lost
)

// LiveAlarm is an event of the alarm log. Each comes once, in order.
type LiveAlarm struct {
	Event    AlarmEvent
	Position Position // where [ResumeAt] continues after it
}

// LiveAlarms replaces all that is known about alarms: the last event of each alarm that is not
// normal. It comes first with [Snapshot], and when the alarm log does not continue where the stream
// was, as after the restore of a backup.
type LiveAlarms struct {
	Alarms   []AlarmEvent
	Position Position
}

// LivePresence says that the presence of a gateway changed.
type LivePresence struct {
	GatewayID ID
	Status    GatewayStatus
	Timestamp time.Time
}

// LiveGap says that readings may be missing from the stream.
type LiveGap struct {
	SensorID ID // 0 when it may be any
	Dropped  int64
	Reason   string
}

// LiveState is the state of the connection, with [States].
type LiveState struct {
	State ConnectionState
	Err   error         // why the connection was lost
	Wait  time.Duration // until the next attempt
}

// ConnectionState is the state of the connection of a live stream.
type ConnectionState string

// Values of ConnectionState.
const (
	Connecting ConnectionState = "connecting"
	Connected  ConnectionState = "connected" // messages come as things happen
	Waiting    ConnectionState = "waiting"   // for the next attempt to connect
)

func (LiveReading) isLive()  {}
func (LiveAlarm) isLive()    {}
func (LiveAlarms) isLive()   {}
func (LivePresence) isLive() {}
func (LiveGap) isLive()      {}
func (LiveState) isLive()    {}

// Position is a place in the alarm log, after an event.
type Position struct {
	Epoch  string `json:"epoch"` // identifies the log
	Offset int64  `json:"offset"`
}

// LiveOption says what a live stream carries.
type LiveOption func(*liveOptions)

type liveOptions struct {
	readings []string // topics of readings and presence
	alarms   []string // topics of alarms
	snapshot bool
	fillGaps bool
	states   bool
	conflate time.Duration
	position *Position
}

// FromSensor carries the readings of sensors.
func FromSensor(ids ...ID) LiveOption { return readingTopics("sensors/%d", ids) }

// FromGateway carries the readings of all sensors of gateways, and their presence.
func FromGateway(ids ...ID) LiveOption { return readingTopics("gateways/%d", ids) }

// FromType carries the readings of all sensors of types such as "temperature".
func FromType(types ...SensorType) LiveOption { return readingTopics("sensors?type=%s", types) }

func readingTopics[T any](format string, names []T) LiveOption {
	return func(o *liveOptions) {
		for _, name := range names {
			o.readings = append(o.readings, fmt.Sprintf(format, name))
		}
	}
}

// Presence carries the presence of every gateway.
func Presence() LiveOption {
	return func(o *liveOptions) { o.readings = append(o.readings, "gateways/status") }
}

// Alarms carries the events of alarms of these severities, or of all.
func Alarms(severities ...Severity) LiveOption {
	return func(o *liveOptions) {
		if len(severities) == 0 {
			o.alarms = append(o.alarms, "alarms")
		}
		for _, severity := range severities {
			o.alarms = append(o.alarms, "alarms/"+string(severity))
		}
	}
}

// Snapshot begins with the newest reading of each sensor, and with the alarms that are not normal.
func Snapshot() LiveOption { return func(o *liveOptions) { o.snapshot = true } }

// FillGaps reads the readings that were stored while the connection was lost, so that each reading
// comes once. Not included are those with an older timestamp than one of their sensor that came
// before.
func FillGaps() LiveOption { return func(o *liveOptions) { o.fillGaps = true } }

// Conflate carries at most one reading of a sensor in an interval, the newest; in milliseconds.
func Conflate(interval time.Duration) LiveOption {
	return func(o *liveOptions) { o.conflate = interval }
}

// ResumeAt continues the alarm log after a position, that of the last [LiveAlarm] a program has
// dealt with: it then misses no event while it does not run.
func ResumeAt(p Position) LiveOption { return func(o *liveOptions) { o.position = &p } }

// States adds a [LiveState] whenever the state of the connection changes.
func States() LiveOption { return func(o *liveOptions) { o.states = true } }

// Live ranges over what happens: for example
//
//	for message, err := range c.Live(ctx, oei.FromGateway(1), oei.Alarms())
//
// It reconnects for as long as ctx lasts, renews the login, and continues the alarm log where it
// was: each alarm event comes once. Readings stored while the connection was lost are missing
// unless [FillGaps] is given. A program that is slower than the messages come is told by a
// [LiveGap] how many readings were left out; alarm events are never left out.
//
// An error is the last element: ctx is done, the login has ended, or a topic does not exist. It
// calls openWebSocket. It needs the role viewer.
func (c *Client) Live(ctx context.Context, options ...LiveOption) iter.Seq2[LiveMessage, error] {
	return func(yield func(LiveMessage, error) bool) {
		s := &liveStream{
			client: c,
			yield:  yield,
			last:   map[ID]time.Time{},
		}
		for _, option := range options {
			option(&s.liveOptions)
		}
		if n := len(s.readings) + len(s.alarms); n == 0 || n > maxTopics {
			yield(nil, fmt.Errorf("oei: a live stream has between 1 and %d topics, not %d",
				maxTopics, n))
			return
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(c.ctx, func() { cancel(errClosed) })()
		if err := s.run(ctx); err != nil {
			yield(nil, err)
		}
	}
}

// LiveError says why a server does not admit a live stream, or not any more.
type LiveError struct {
	Code   int // of the WebSocket's close, or 0
	Detail string
	Topics []string // those that were refused
}

// Error returns the reason in words.
func (e *LiveError) Error() string {
	text := "oei: live stream: " + e.Detail
	if len(e.Topics) > 0 {
		text += fmt.Sprintf(": %q", e.Topics)
	}
	if e.Code != 0 {
		text += fmt.Sprintf(" (close code %d)", e.Code)
	}
	return text
}

// Is makes a stream that is not allowed an [ErrForbidden].
func (e *LiveError) Is(target error) bool {
	return e.Code == codeForbidden && target == ErrForbidden
}

// readingOf returns the message of a reading.
func readingOf(r client.WsSensorReading, origin Origin) LiveReading {
	reading := LiveReading{
		SensorID:  r.SensorID,
		GatewayID: r.GatewayID,
		Timestamp: r.Data.Timestamp,
		Value:     math.NaN(),
		Quality:   r.Data.Quality,
		Origin:    origin,
	}
	if value, err := r.Data.Value.Get(); err == nil {
		reading.Value = value
	}
	if r.SensorType != nil {
		reading.SensorType = *r.SensorType
	}
	return reading
}
