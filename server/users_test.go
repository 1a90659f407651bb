package server_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/store"
)

func TestUser_FromCreationToDeletion(t *testing.T) {
	s := start(t)
	c := s.as(store.Admin)
	ctx := t.Context()
	made := must(c.CreateUserWithResponse(ctx,
		client.UserCreate{
			Username: "ada",
			Email:    "ada@example.com",
			Role:     client.RoleOperator,
			Password: password,
		}))
	if made.JSON201 == nil || made.JSON201.Username != "ada" || !made.JSON201.IsActive ||
		made.JSON201.IsSuperuser {
		t.Fatalf("create: got %s", made.Body)
	}
	id := made.JSON201.ID
	if got := made.HTTPResponse.Header.Get("Location"); got != fmt.Sprintf("/api/users/%d", id) {
		t.Errorf("Location: got %q", got)
	}
	for field, body := range map[string]client.UserCreate{
		"username": {
			Username: "ada",
			Email:    "other@example.com",
			Role:     client.RoleViewer,
			Password: password,
		},
		"email": {
			Username: "other",
			Email:    "ada@example.com",
			Role:     client.RoleViewer,
			Password: password,
		},
	} {
		if res := must(c.CreateUserWithResponse(ctx, body)); res.StatusCode() != 409 ||
			res.ApplicationProblemJSON409.Errors[0].Field != field {
			t.Errorf("the %s again: got %s", field, res.Body)
		}
	}
	for field, body := range map[string]client.UserCreate{
		"password": {Username: "x", Email: "x@x", Role: client.RoleViewer, Password: "too short"},
		"email":    {Username: "x", Email: "nobody", Role: client.RoleViewer, Password: password},
		"username": {Username: " x", Email: "x@x", Role: client.RoleViewer, Password: password},
		"role":     {Username: "x", Email: "x@x", Role: "king", Password: password},
	} {
		if res := must(c.CreateUserWithResponse(ctx, body)); res.StatusCode() != 400 ||
			res.ApplicationProblemJSON400.Errors[0].Field != field {
			t.Errorf("a bad %s: got %s", field, res.Body)
		}
	}
	s.login("ada")
	etag := made.HTTPResponse.Header.Get("ETag")
	changed := must(c.UpdateUserWithResponse(ctx, id, &client.UpdateUserParams{IfMatch: &etag},
		client.UserUpdate{Email: new("ada@example.org")}))
	if changed.JSON200 == nil || changed.JSON200.Email != "ada@example.org" ||
		changed.JSON200.Role != client.RoleOperator {
		t.Errorf("changed: got %s", changed.Body)
	}
	if res := must(c.UpdateUserWithResponse(ctx, id, &client.UpdateUserParams{IfMatch: &etag},
		client.UserUpdate{Email: new("x@x")})); res.StatusCode() != 412 {
		t.Errorf("changed from what it was before: got %s", res.Body)
	}
	if res := must(c.UpdateUserWithResponse(ctx, id, nil,
		client.UserUpdate{Email: new("admin@localhost")})); res.StatusCode() != 409 ||
		res.ApplicationProblemJSON409.Errors[0].Field != "email" {
		t.Errorf("the email of another: got %s", res.Body)
	}
	if res := must(c.DeleteUserWithResponse(ctx, id,
		&client.DeleteUserParams{DryRun: new(true)})); res.StatusCode() != 200 ||
		*res.JSON200 != (client.UserDeletionResult{DryRun: true, Sessions: 1}) {
		t.Errorf("would be deleted: got %s", res.Body)
	}
	s.login("ada") // it was only asked
	if res := must(c.DeleteUserWithResponse(ctx, id, nil)); res.StatusCode() != 200 ||
		*res.JSON200 != (client.UserDeletionResult{Sessions: 2}) {
		t.Errorf("deleted: got %s", res.Body)
	}
	for name, status := range map[string]int{
		"get": must(c.GetUserWithResponse(ctx, id)).StatusCode(),
		"update": must(c.UpdateUserWithResponse(ctx, id, nil,
			client.UserUpdate{Email: new("y@y")})).StatusCode(),
		"delete": must(c.DeleteUserWithResponse(ctx, id, nil)).StatusCode(),
	} {
		if status != http.StatusNotFound {
			t.Errorf("%s after the deletion: got %d, want 404", name, status)
		}
	}
	if got := s.tryLogin("ada", password).StatusCode; got != 401 {
		t.Errorf("login after the deletion: got %d, want 401", got)
	}
}

func TestUsers_List(t *testing.T) {
	s := start(t)
	s.addUser("former", store.Admin, false)
	for query, want := range map[string]int{
		"?limit=2": 5, "?limit=2&role=admin": 2, "?limit=1&is_active=false": 1,
		"?limit=1&role=admin&is_active=true": 1, "?limit=1&username=viewer": 1,
		"?limit=1&username=nobody": 0,
	} {
		if rows, _ := s.pages(store.Admin, "/api/users"+query); len(rows) != want {
			t.Errorf("%s: got %d users, want %d", query, len(rows), want)
		}
	}
	if res := s.send("GET", "/api/users?count=true&limit=1", s.token(s.users[store.Admin]),
		""); res.Header.Get("X-Total-Count") != "5" {
		t.Errorf("count: got %q, want 5", res.Header.Get("X-Total-Count"))
	}
}

func TestUpdateUser_HoldsForOpenSessions(t *testing.T) {
	tests := map[string]struct {
		change      client.UserUpdate
		me, gateway int // statuses of reading oneself, and of what takes an engineer
	}{
		"another role":     {client.UserUpdate{Role: new(client.RoleEngineer)}, 200, 201},
		"another email":    {client.UserUpdate{Email: new("new@example.com")}, 200, 403},
		"another password": {client.UserUpdate{Password: new("another password")}, 401, 401},
		"disabled":         {client.UserUpdate{IsActive: new(false)}, 401, 401},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			tokens := s.login("viewer")
			socket, _ := s.dial("/ws", "Authorization", "Bearer "+tokens.AccessToken)
			if got := s.me(tokens.AccessToken); got != 200 {
				t.Fatalf("before: got %d", got)
			}
			res := must(s.as(store.Admin).UpdateUserWithResponse(t.Context(),
				s.users[store.Viewer].ID, nil, test.change))
			if res.StatusCode() != 200 {
				t.Fatalf("change: got %s", res.Body)
			}
			if got := s.me(tokens.AccessToken); got != test.me {
				t.Errorf("me: got %d, want %d", got, test.me)
			}
			if got := s.send("POST", "/api/gateways", tokens.AccessToken,
				`{"key":"new","name":"x"}`).StatusCode; got != test.gateway {
				t.Errorf("make a gateway: got %d, want %d", got, test.gateway)
			}
			_, refreshed := s.refresh(tokens.RefreshToken)
			if want := test.me; refreshed != want {
				t.Errorf("refresh: got %d, want %d", refreshed, want)
			}
			if test.me == 401 {
				expectClose(t, socket, push.CloseNotAuthenticated)
			}
		})
	}
}

func TestUsers_LastAdminStays(t *testing.T) {
	s := start(t)
	c := s.as(store.Admin)
	ctx := t.Context()
	id := s.users[store.Admin].ID
	s.addUser("former", store.Admin, false)
	for name, status := range map[string]int{
		"another role": must(c.UpdateUserWithResponse(ctx, id, nil,
			client.UserUpdate{Role: new(client.RoleEngineer)})).StatusCode(),
		"disabled": must(c.UpdateUserWithResponse(ctx, id, nil,
			client.UserUpdate{IsActive: new(false)})).StatusCode(),
		"deleted": must(c.DeleteUserWithResponse(ctx, id, nil)).StatusCode(),
		"would be deleted": must(c.DeleteUserWithResponse(ctx, id,
			&client.DeleteUserParams{DryRun: new(true)})).StatusCode(),
	} {
		if status != http.StatusConflict {
			t.Errorf("the last one, %s: got %d, want 409", name, status)
		}
	}
	if res := must(c.GetUserWithResponse(ctx, id)); res.JSON200 == nil ||
		res.JSON200.Role != client.RoleAdmin || !res.JSON200.IsActive {
		t.Errorf("after it: got %s", res.Body)
	}
}

func TestUsers_AdminsWhoDemoteEachOtherLeaveOne(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	a, b := startOn(t, dsn), startOn(t, dsn)
	for round := range 10 {
		other := a.addUser(fmt.Sprintf("admin %d", round), store.Admin, true)
		var first store.User
		for _, u := range must(a.store.Users(t.Context(),
			store.UserFilter{Role: new(store.Admin), IsActive: new(true)}, 0, 10)) {
			if u.ID != other.ID {
				first = u
			}
		}
		var wg sync.WaitGroup
		for user, s := range map[store.User]*system{first: a, other: b} {
			wg.Go(func() {
				_, _, _ = s.store.UpdateUser(t.Context(), user.ID, 0,
					store.UserChange{Role: new(store.Viewer)})
			})
		}
		wg.Wait()
		if n := must(a.store.CountUsers(t.Context(),
			store.UserFilter{Role: new(store.Admin), IsActive: new(true)})); n != 1 {
			t.Fatalf("round %d: got %d admins, want 1", round, n)
		}
	}
}

func TestDisabledUser_OtherInstanceNoticesWithinASecond(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	a, b := startOn(t, dsn), startOn(t, dsn)
	tokens := a.login("engineer")
	if got := b.me(tokens.AccessToken); got != 200 {
		t.Fatalf("before: got %d", got)
	}
	if res := must(a.as(store.Admin).UpdateUserWithResponse(t.Context(), a.users[store.Engineer].ID,
		nil, client.UserUpdate{IsActive: new(false)})); res.StatusCode() != 200 {
		t.Fatalf("disable: got %s", res.Body)
	}
	within(t, 1200*time.Millisecond, "the other instance refuses the token",
		func() bool { return b.me(tokens.AccessToken) == 401 })
}
