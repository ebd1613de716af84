package rest

// Row is what the contract tests need of an operation.
type Row struct {
	Name, Method, Path string // Name is generation.operation, Path has the prefix
	Prefixes           []string
	Operator           bool
	AnyToken           bool // the token's acl does not matter
}

// Rows lists the whole table.
func Rows() []Row {
	var rows []Row
	for _, op := range (&Handler{}).table() {
		rows = append(rows, Row{
			Name: op.generation.name + "." + op.id, Method: op.method, Path: op.generation.prefixes[0] + op.path,
			Prefixes: op.generation.prefixes, Operator: !op.scheme.token(), AnyToken: op.scheme == anyBearer,
		})
	}
	return rows
}
