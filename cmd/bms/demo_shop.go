package main

import "bms/domain"

// demoBranches are the shops that --demo opens.
var demoBranches = []domain.OpenBranch{
	{BranchID: "b1", Name: "Market Street"},
	{BranchID: "b2", Name: "Harbour"},
}

// demoCurrency is that of every demo price.
const demoCurrency = "EUR"

// demoProduct is an article of the demo range. Stock and minimum are those of
// a shop on its first day.
type demoProduct struct {
	id, sku, name string
	priceMinor    int64
	stock, min    int64
	// popularity weighs how often a basket holds it.
	popularity int
}

// demoRange is what both shops sell.
var demoRange = []demoProduct{
	{"milk-1l", "DAI-001", "Whole milk 1 l", 129, 60, 20, 9},
	{"oat-drink-1l", "DAI-002", "Oat drink 1 l", 199, 40, 12, 5},
	{"butter-250", "DAI-003", "Butter 250 g", 249, 45, 15, 6},
	{"yoghurt-500", "DAI-004", "Natural yoghurt 500 g", 149, 36, 12, 5},
	{"gouda-200", "DAI-005", "Gouda, sliced 200 g", 279, 30, 10, 4},
	{"eggs-10", "DAI-006", "Free-range eggs, 10", 329, 40, 15, 7},
	{"bread-rye", "BAK-001", "Rye bread 750 g", 349, 24, 8, 7},
	{"baguette", "BAK-002", "Baguette", 119, 40, 15, 8},
	{"croissant", "BAK-003", "Butter croissant", 99, 60, 20, 8},
	{"bun-whole", "BAK-004", "Wholemeal roll", 59, 80, 30, 9},
	{"bananas-kg", "PRO-001", "Bananas, kg", 189, 50, 15, 8},
	{"apples-kg", "PRO-002", "Apples Elstar, kg", 249, 45, 15, 6},
	{"lemons", "PRO-003", "Lemon", 49, 60, 20, 4},
	{"tomatoes-500", "PRO-004", "Vine tomatoes 500 g", 219, 35, 12, 6},
	{"cucumber", "PRO-005", "Cucumber", 89, 40, 12, 5},
	{"potatoes-2kg", "PRO-006", "Potatoes 2 kg", 299, 28, 8, 4},
	{"onions-1kg", "PRO-007", "Onions 1 kg", 149, 26, 8, 3},
	{"avocado", "PRO-008", "Avocado, ready to eat", 149, 36, 12, 4},
	{"spaghetti-500", "DRY-001", "Spaghetti 500 g", 129, 60, 20, 5},
	{"rice-1kg", "DRY-002", "Basmati rice 1 kg", 349, 30, 10, 3},
	{"passata-700", "DRY-003", "Tomato passata 700 g", 169, 36, 12, 4},
	{"olive-oil-500", "DRY-004", "Olive oil 500 ml", 799, 18, 6, 2},
	{"flour-1kg", "DRY-005", "Wheat flour 1 kg", 99, 40, 12, 2},
	{"sugar-1kg", "DRY-006", "Sugar 1 kg", 139, 36, 10, 2},
	{"coffee-500", "DRY-007", "Coffee beans 500 g", 749, 24, 8, 4},
	{"tea-black", "DRY-008", "Black tea, 50 bags", 289, 20, 6, 2},
	{"chocolate-dark", "SNA-001", "Dark chocolate 100 g", 189, 50, 15, 6},
	{"crisps-salt", "SNA-002", "Salted crisps 175 g", 199, 40, 12, 5},
	{"water-6x15", "DRI-001", "Sparkling water 6 x 1.5 l", 349, 30, 10, 5},
	{"cola-1l", "DRI-002", "Cola 1 l", 159, 45, 15, 5},
	{"orange-juice-1l", "DRI-003", "Orange juice 1 l", 279, 30, 10, 4},
	{"beer-6x05", "DRI-004", "Lager 6 x 0.5 l", 699, 24, 8, 4},
	{"wine-red", "DRI-005", "Red wine 0.75 l", 649, 20, 6, 2},
	{"toilet-paper-8", "HOU-001", "Toilet paper, 8 rolls", 449, 30, 10, 3},
	{"dish-soap", "HOU-002", "Dish soap 500 ml", 179, 24, 8, 2},
	{"detergent-20", "HOU-003", "Washing detergent, 20 loads", 699, 14, 4, 1},
}
