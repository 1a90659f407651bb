package push

import (
	"cmp"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Reading is a committed reading. A Value that is not finite is sent as null. Quality is good,
// uncertain or bad. SensorType is empty for system sensors, which no subscriber of a type gets.
type Reading struct {
	SensorID   int64
	GatewayID  int64
	SensorType string
	Timestamp  time.Time
	Received   time.Time // zero when it is unknown
	Value      float64
	Quality    string
}

// order is the position of a reading among the readings of its sensor. Readings are ordered by
// effective time, the earlier of timestamp and received time, so that a clock that runs ahead hides
// no later reading. Readings with equal effective time are ordered by how far the timestamp is
// ahead.
type order struct {
	at    time.Time
	ahead time.Duration
}

func (r *Reading) order() order {
	if r.Received.IsZero() || !r.Timestamp.After(r.Received) {
		return order{at: r.Timestamp}
	}
	return order{r.Received, r.Timestamp.Sub(r.Received)}
}

func (o order) compare(p order) int {
	return cmp.Or(o.at.Compare(p.at), cmp.Compare(o.ahead, p.ahead))
}

func (o order) before(p order) bool { return o.compare(p) < 0 }
func (o order) after(p order) bool  { return o.compare(p) > 0 }

// Status is the presence of a gateway since At: online, offline or unknown.
type Status struct {
	GatewayID int64
	Status    string
	At        time.Time
}

// update is a reading, a status, an alarm event or a frame of a snapshot on its way to clients. It
// is encoded once and shared by all connections.
type update struct {
	about    Topic  // the sensor or gateway; conflation keeps the newest update of each
	at       order  // of a reading or status
	offset   int64  // of an alarm event
	severity uint8  // of an alarm event, its bit
	json     []byte // the text frame
	single   bool   // for one connection only, so that preparing the frame gains nothing

	once  sync.Once
	frame *websocket.PreparedMessage
	err   error
}

// prepared returns the frame with its WebSocket header, which the first call builds.
func (u *update) prepared() (*websocket.PreparedMessage, error) {
	u.once.Do(func() {
		u.frame, u.err = websocket.NewPreparedMessage(websocket.TextMessage, u.json)
	})
	return u.frame, u.err
}
