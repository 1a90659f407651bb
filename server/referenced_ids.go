package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/oei-ms/oei-ms/store"
)

// referencedIDs holds the ids of resources to which a request refers; nil: to none.
type referencedIDs struct{ Alarm, Sensor, Gateway, Channel, Route *int64 }

// checkIDs returns a 400 when one of the resources does not exist.
func (s *Server) checkIDs(ctx context.Context, ids referencedIDs) error {
	for _, thing := range []struct {
		name string
		id   *int64
		find func(int64) error
	}{
		{"alarm", ids.Alarm, func(id int64) error { _, err := s.store.Alarm(ctx, id); return err }},
		{
			"sensor", ids.Sensor,
			func(id int64) error { _, err := s.store.Sensor(ctx, id); return err },
		},
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

// checkFilterIDs is checkIDs for the filters of a list whose first page is empty, so that a wrong
// id is not mistaken for an empty list. Lists of events may refer to deleted resources: an id is
// right when there are rows.
func (s *Server) checkFilterIDs(
	ctx context.Context, rows int, first bool, ids referencedIDs,
) error {
	if rows > 0 || !first {
		return nil
	}
	return s.checkIDs(ctx, ids)
}

// systemFilter returns the is_system filter of a list. Without one, a list that is not filtered by
// sensor or gateway leaves out system sensors.
func systemFilter(isSystem *bool, named bool) *bool {
	if isSystem == nil && !named {
		return new(false)
	}
	return isSystem
}

// singular holds the noun of each collection whose members have an id in a path.
var singular = map[string]string{
	"alarms": "alarm", "channels": "channel", "credentials": "credential", "deliveries": "delivery",
	"gateways": "gateway", "routes": "route",
	"sensors": "sensor", "silences": "silence", "users": "user",
}

// notFoundDetail says which resource of a path does not exist, such as "There is no credential 3 of
// gateway 17."; "" when the path has no id.
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
