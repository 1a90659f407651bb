package store

// Role is what a user may do; each includes those before it.
type Role string

// The roles, in ascending order.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Engineer Role = "engineer"
	Admin    Role = "admin"
)

var roleRank = map[Role]int{Viewer: 1, Operator: 2, Engineer: 3, Admin: 4}

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return roleRank[r] > 0 }

// Includes reports whether r may do all that other may. An unknown role may do nothing.
func (r Role) Includes(other Role) bool {
	return r.Valid() && other.Valid() && roleRank[r] >= roleRank[other]
}
