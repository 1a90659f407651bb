package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/oei-ms/oei-ms/store"
)

// referencedIDs are the things that a request names by their ids; nil names none.
type referencedIDs struct{ Alarm, Sensor, Gateway, Channel, Route *int64 }

// checkIDs is a 400 that says what is not there.
func (s *Server) checkIDs(ctx context.Context, ids referencedIDs) error {
	for _, thing := range []struct {
		name string
		id   *int64
		find func(int64) error
	}{
		{"alarm", ids.Alarm, func(id int64) error { _, err := s.store.Alarm(ctx, id); return err }},
		{"sensor", ids.Sensor, func(id int64) error { _, err := s.store.Sensor(ctx, id); return err }},
		{
			"gateway", ids.Gateway,
			func(id int64) error { _, err := s.store.Gateway(ctx, id); return err },
		},
		{
			"channel", ids.Channel,
			func(id int64) error { _, err := s.store.Channel(ctx, id); return err },
		},
		{"route", ids.Route, func(id int64) error { _, err := s.store.Route(ctx, id); return err }},
	} {
		if thing.id == nil {
			continue
		}
		err := thing.find(*thing.id)
		if errors.Is(err, store.ErrNotFound) {
			return invalid(thing.name+"_id",
				fmt.Sprintf("there is no %s %d", thing.name, *thing.id))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkFilterIDs is exist for the filters of a list whose first page, of so many rows, is empty: a name
// that is wrong is not taken for nothing being there. Journals tell of things that have gone, too,
// and so does a page that is not empty.
func (s *Server) checkFilterIDs(ctx context.Context, rows int, first bool, ids referencedIDs) error {
	if rows > 0 || !first {
		return nil
	}
	return s.checkIDs(ctx, ids)
}

// systemFilter is the is_system filter of a list. If it is absent, a list that names no sensor or
// gateway has none of the server's own.
func systemFilter(isSystem *bool, named bool) *bool {
	if isSystem == nil && !named {
		return new(false)
	}
	return isSystem
}

// singular of the collections whose members have an id in a path.
var singular = map[string]string{
	"alarms": "alarm", "channels": "channel", "credentials": "credential", "deliveries": "delivery",
	"gateways": "gateway", "routes": "route",
	"sensors": "sensor", "silences": "silence", "users": "user",
}

// notFoundDetail says what a path names that is not there, such as "There is no credential 3 of gateway
// 17."; "" when it names nothing.
func notFoundDetail(path string) string {
	text := ""
	parts := strings.Split(path, "/")
	for i, part := range parts[1:] {
		name := singular[parts[i]]
		if _, err := strconv.ParseInt(part, 10, 64); err != nil || name == "" {
			continue
		}
		if text != "" {
			text = " of " + text
		}
		text = name + " " + part + text
	}
	if text == "" {
		return ""
	}
	return "There is no " + text + "."
}
