package server_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// pages follows Link to the end, as the user with the role, and returns the rows of each page as
// JSON.
func (s *system) pages(role store.Role, path string) (rows []json.RawMessage, pages int) {
	s.t.Helper()
	token := s.token(s.users[role])
	for path != "" {
		res := s.send("GET", path, token, "")
		var page []json.RawMessage
		if err := json.Unmarshal(res.body, &page); err != nil {
			s.t.Fatalf("%s: %v: %s", path, err, res.body)
		}
		rows = append(rows, page...)
		pages++
		path = ""
		if link := res.Header.Get("Link"); link != "" {
			target, rel, _ := strings.Cut(link, ">; ")
			path = strings.TrimPrefix(target, "<")
			if u, err := url.Parse(path); err != nil || rel != `rel="next"` || u.IsAbs() {
				s.t.Fatalf("Link: got %s", link)
			}
		}
	}
	return rows, pages
}

func TestPages_HoldEveryRowOnceAndKeepTheFilter(t *testing.T) {
	s := start(t)
	g, other := s.addGateway(), s.addGateway()
	var ids []int64
	for range 7 {
		ids = append(ids, s.addSensor(g.ID).ID)
		s.addSensor(other.ID)
	}
	end := time.Now().UTC().Truncate(time.Second)
	for _, id := range ids[:3] {
		s.addReadings(id, 5, end)
	}
	sensors := fmt.Sprintf("sensor_id=%d&sensor_id=%d&sensor_id=%d", ids[0], ids[1], ids[2])
	tests := []struct {
		path        string
		rows, pages int
	}{
		{"/api/gateways?limit=1", 2, 2},
		{"/api/gateways?limit=2", 2, 1},
		{"/api/gateways?limit=1&status=online", 0, 1},
		{
			fmt.Sprintf("/api/sensors?limit=3&gateway_id=%d&is_active=true&type=temperature", g.ID),
			7, 3,
		},
		{"/api/sensors", 14, 1},
		{"/api/data?limit=4&" + sensors, 15, 4},
		{"/api/data?limit=4&order=asc&" + sensors, 15, 4},
		{"/api/data?limit=1&quality=good&" + sensors, 15, 15},
		{"/api/data?limit=1&quality=bad&" + sensors, 0, 1},
		{
			"/api/data?limit=2&" + sensors + "&start=" +
				url.QueryEscape(end.Add(-2*time.Second).Format(time.RFC3339)) + "&end=" +
				end.Format(time.RFC3339),
			6, 3,
		},
		{"/api/data/latest?limit=2", 3, 2},
		{fmt.Sprintf("/api/data/latest?limit=1&gateway_id=%d&sensor_id=%d", g.ID, ids[0]), 1, 1},
		{fmt.Sprintf("/api/data/latest?gateway_id=%d", other.ID), 0, 1},
	}
	for _, test := range tests {
		rows, pages := s.pages(store.Viewer, test.path)
		seen := map[string]bool{}
		for _, r := range rows {
			seen[string(r)] = true
		}
		if len(rows) != test.rows || len(seen) != test.rows || pages != test.pages {
			t.Errorf("%s: got %d rows (%d different) on %d pages, want %d on %d", test.path,
				len(rows), len(seen), pages, test.rows, test.pages)
		}
	}
	res := s.send("GET", "/api/sensors?limit=2&count=true", s.token(s.users[store.Viewer]), "")
	if got := res.Header.Get("X-Total-Count"); got != "14" {
		t.Errorf("X-Total-Count: got %q, want 14", got)
	}
	if res := s.send("GET", "/api/sensors?limit=2", s.token(s.users[store.Viewer]),
		""); res.Header.Get("X-Total-Count") != "" {
		t.Error("X-Total-Count is sent unasked")
	}
}
